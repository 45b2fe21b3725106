"""The forms in which users give class labels, and the one form used inside.

Inside, labels are int32 class indices of shape `(batch,)`, with `IGNORED` for a
sample that has none: such a sample is left alone and enters no class's memory. A user
says that a sample has no label by the index -1, or by one that the loss ignores.
"""

import keras
import numpy as np
from keras import ops

IGNORED = -1

#: In these, the number of classes itself may not fit.
_NARROW_DTYPES = ("bool", "int8", "uint8", "int16", "uint16")


def class_indices(labels, num_classes, ignored=()):
    """Class indices from integers, one-hot rows, or 0/1 floats.

    Args:
        labels: Tensor of shape `(batch,)` or `(batch, 1)` with class indices, or
            `(batch, num_classes)` with one-hot rows (soft rows that sum to 1 count
            for their largest entry).
        num_classes: Number of classes.
        ignored: Class indices that the loss ignores.

    Returns:
        int32 tensor of shape `(batch,)`, `IGNORED` where a label is not a class.
    """
    labels = ops.convert_to_tensor(labels)
    if keras.backend.standardize_dtype(labels.dtype) in _NARROW_DTYPES:
        labels = ops.cast(labels, "int32")
    shape = tuple(labels.shape)
    if _are_rows(shape, num_classes):
        total = ops.cast(ops.sum(labels, axis=-1), "float32")
        valid = ops.abs(total - 1.0) < 1e-2
        indices = ops.cast(ops.argmax(labels, axis=-1), "int32")
        return ops.where(valid, indices, IGNORED)
    if not _are_indices(shape):
        raise ValueError(_shape_message(shape, num_classes))
    labels = ops.reshape(labels, (-1,))
    valid = (labels >= 0) & (labels < num_classes)
    if "float" in keras.backend.standardize_dtype(labels.dtype):
        valid = valid & (labels == ops.floor(labels))
        labels = ops.where(valid, labels, ops.zeros_like(labels))
    for index in ignored:
        valid = valid & (labels != index)
    return ops.where(valid, ops.cast(labels, "int32"), IGNORED)


def _are_rows(shape, num_classes):
    return len(shape) == 2 and shape[-1] == num_classes


def _are_indices(shape):
    return len(shape) == 1 or (len(shape) == 2 and shape[-1] == 1)


#: Columns of what `count_labels` returns.
SAMPLES, WITHOUT_CLASS, WRONG, STEPS = range(4)


def count_labels(labels, indices, ignored=()):
    """Counts a batch's samples, those without a class, and those of them whose label
    does not say so: it is no class of the model's.

    Args:
        labels: Tensor of labels, as in `class_indices`.
        indices: What `class_indices` makes of them.
        ignored: As in `class_indices`.

    Returns:
        int32 tensor of shape `(4,)`; the last entry is 1, for the step.
    """
    labels = ops.convert_to_tensor(labels)
    wrong = without = indices == IGNORED
    if _are_indices(tuple(labels.shape)):
        labels = ops.reshape(labels, (-1,))
        if keras.backend.standardize_dtype(labels.dtype) in _NARROW_DTYPES:
            labels = ops.cast(labels, "int32")
        for index in {IGNORED, *ignored}:
            wrong = wrong & (labels != index)
    is_first = ops.arange(ops.shape(indices)[0], dtype="int32") == 0
    masks = ops.stack([ops.ones_like(without), without, wrong, is_first])
    return ops.sum(ops.cast(masks, "int32"), axis=1)


def check_label_array(labels, num_classes, ignored=()):
    """Raises a `ValueError` where an array of labels cannot be class labels, nor one of
    the indices that the loss ignores."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            "Labels must be numbers: class indices or one-hot rows. Encode class "
            "names first, with `keras.layers.StringLookup` for example. "
            f"Received: labels of dtype {labels.dtype}"
        )
    if not np.all(np.isfinite(labels)):
        raise ValueError("Labels must be finite. Received: labels with NaN or infinity")
    if _are_rows(labels.shape, num_classes):
        _check_one_hot(labels)
    elif _are_indices(labels.shape):
        _check_indices(labels[~np.isin(labels, ignored)], num_classes)
    else:
        raise ValueError(_shape_message(labels.shape, num_classes))


def _check_one_hot(labels):
    totals = labels.sum(axis=1)
    wrong = np.flatnonzero((np.abs(totals - 1) > 1e-2) | (labels < 0).any(axis=1))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            "One-hot labels must be non-negative and sum to 1 in every row. "
            "Several labels for one sample are not supported by `LatentAugmentation`. "
            f"Received: row {row} is {labels[row]}, with sum {totals[row]}"
        )


def _check_indices(labels, num_classes):
    if np.any(labels != np.floor(labels)):
        value = labels[labels != np.floor(labels)].flat[0]
        raise ValueError(
            "Class labels must be whole numbers. Regression targets are not supported "
            f"by `LatentAugmentation`. Received: a label of {value}"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        value = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(
            f"Class labels must lie in [0, {num_classes}), since `LatentAugmentation` "
            f"was given num_classes={num_classes}. A sample without a label has the "
            "index -1, which the loss must ignore, as `SparseCategoricalCrossentropy("
            f"ignore_class=-1)` does. Received: a label of {value}"
        )


def _shape_message(shape, num_classes):
    per_position = ""
    if len(shape) > 1:
        per_position = " A label for each position is not supported."
    return (
        "Labels must have shape (batch,) or (batch, 1) for class indices, or "
        f"(batch, {num_classes}) for one-hot rows, since `LatentAugmentation` was "
        f"given num_classes={num_classes}.{per_position} "
        f"Received: labels of shape {tuple(shape)}"
    )
