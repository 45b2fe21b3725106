"""Masks that Keras attaches to predictions, for losses and metrics."""

import functools

import keras
from keras import ops

from keras_modals._src.backend import copy_rows


class _Rows(keras.layers.Layer):
    """Selects rows of predictions and of their mask, if any.

    Args:
        choose: `fn(tensor)` that returns the rows.
    """

    def __init__(self, choose):
        # TensorFlow's scopes must not begin with an underscore.
        super().__init__(name="rows", autocast=False)
        self.supports_masking = True
        self.choose = choose

    def call(self, predictions):
        rows = self.choose(predictions)
        # A tensor keeps its mask, a copy does not.
        return copy_rows(rows) if rows is predictions else rows

    def compute_mask(self, predictions, previous_mask):
        return None if previous_mask is None else self.choose(previous_mask)


class _Masked(keras.layers.Layer):
    """Attaches a mask to predictions, combined with the mask that they have."""

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
    # Creating a layer takes longer than calling it.
    return _Masked()


def with_mask(predictions, mask):
    """Attaches a mask, boolean `(n, ...)`, to predictions.

    Losses and metrics skip entries where it is `False`."""
    return _masked()([predictions, mask])


def rows_of(choose, predictions, is_masked=False):
    """Selects rows of predictions, with the data that Keras attaches to them.

    Args:
        choose: `fn(tensor)` that returns the rows.
        predictions: `(n, ...)`.
        is_masked: Whether they certainly have a mask.
    """
    # Predictions without an axis of positions have no mask of their own.
    if len(predictions.shape) < 3 and not is_masked:
        return choose(predictions)
    return _Rows(choose)(predictions)
