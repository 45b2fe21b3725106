"""The masks that Keras keeps beside predictions, for losses and metrics."""

import functools

import keras
from keras import ops

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


class _Masked(keras.layers.Layer):
    """Of a pair of predictions and a mask the predictions, with the mask beside them,
    and with that which they had."""

    def __init__(self):
        super().__init__(name="masked", autocast=False)
        self.supports_masking = True

    def call(self, inputs):
        predictions, _ = inputs
        return copy_rows(predictions)

    def compute_mask(self, inputs, previous_mask):
        _, mask = inputs
        own, _ = previous_mask or (None, None)
        return mask if own is None else mask & ops.cast(own, "bool")


@functools.cache
def _masked():
    # To make a layer takes longer than to call it.
    return _Masked()


def with_mask(predictions, mask):
    """Predictions of which losses and metrics leave out where a mask, boolean
    `(n, ...)`, is false."""
    return _masked()([predictions, mask])


def rows_of(choose, predictions, is_masked=False):
    """Some rows of predictions, with what Keras keeps beside them for its losses and
    metrics.

    Args:
        choose: `fn(tensor)` that returns the rows.
        predictions: `(n, ...)`.
        is_masked: Whether there is a mask of them in any case.
    """
    # What has no axis of positions has no mask of its own.
    if len(predictions.shape) < 3 and not is_masked:
        return choose(predictions)
    return _Rows(choose)(predictions)
