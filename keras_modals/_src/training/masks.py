"""The masks that Keras keeps beside predictions, for losses and metrics."""

import keras

from keras_modals._src.backend import copy_rows


class _Rows(keras.layers.Layer):
    """Some rows of predictions, with those of their mask beside them, if any.

    Args:
        choose: `fn(tensor)` that returns the rows.
        mask: Another mask for them; `None` for that of the predictions.
    """

    def __init__(self, choose, mask=None):
        # Names that begin with an underscore are none of TensorFlow's scopes.
        super().__init__(name="rows", autocast=False)
        self.supports_masking = True
        self.choose, self.mask = choose, mask

    def call(self, predictions):
        rows = self.choose(predictions)
        # A tensor keeps the mask that it has, a copy does not.
        return copy_rows(rows) if rows is predictions else rows

    def compute_mask(self, predictions, previous_mask):
        if previous_mask is None:
            return None
        return self.choose(previous_mask) if self.mask is None else self.mask


def rows_of(choose, predictions, mask=None):
    """Some rows of predictions, with what Keras keeps beside them for its losses and
    metrics.

    Args:
        choose: `fn(tensor)` that returns the rows.
        predictions: `(n, ...)`.
        mask: Boolean `(rows, ...)`, a mask of the rows, where predictions have one of
            its shape.
    """
    if mask is not None and not fits(mask, predictions):
        mask = None
    # What has no axis of positions has no mask.
    if len(predictions.shape) < 3:
        return choose(predictions)
    return _Rows(choose, mask)(predictions)


def with_mask(predictions, mask):
    """Predictions with another mask, if they have one of its shape."""
    return predictions if mask is None else rows_of(copy_rows, predictions, mask)


def fits(mask, predictions):
    """Whether a mask, `(rows, ...)`, has an entry for each position of predictions."""
    rank = len(mask.shape)
    positions = tuple(predictions.shape[1:rank])
    return len(predictions.shape) > rank and positions == tuple(mask.shape[1:])
