"""The masks that Keras keeps beside predictions, for losses and metrics."""

import keras

from keras_modals._src.backend import copy_rows


class _Rows(keras.layers.Layer):
    """Some rows of predictions, with those of their mask beside them, if any.

    Args:
        choose: `fn(tensor)` that returns the rows.
    """

    def __init__(self, choose):
        # Names that begin with an underscore are none of TensorFlow's scopes.
        super().__init__(name="rows", autocast=False)
        self.supports_masking = True
        self.choose = choose

    def call(self, predictions):
        rows = self.choose(predictions)
        # A tensor keeps the mask that it has, a copy does not.
        return copy_rows(rows) if rows is predictions else rows

    def compute_mask(self, predictions, previous_mask):
        return None if previous_mask is None else self.choose(previous_mask)


def rows_of(choose, predictions):
    """Some rows of predictions, with what Keras keeps beside them for its losses and
    metrics.

    Args:
        choose: `fn(tensor)` that returns the rows.
        predictions: `(n, ...)`.
    """
    # What has no axis of positions has no mask.
    if len(predictions.shape) < 3:
        return choose(predictions)
    return _Rows(choose)(predictions)
