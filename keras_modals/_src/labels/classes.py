import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.task import (
    NUMBERS,
    gives_numbers,
    has_several_labels,
    loss_among,
)

#: Dtypes that may be too narrow to hold the number of classes.
_NARROW_DTYPES = ("bool", "int8", "uint8", "int16", "uint16")

#: Largest deviation from 1 of the sum of a row of probabilities.
_TOLERANCE = 1e-2

HINGE = "Labels of -1 and 1, as for a hinge loss, need `labels=keras_modals.Values()`."


@keras.saving.register_keras_serializable("keras_modals")
@dataclasses.dataclass(frozen=True)
class Classes(Labels):
    """One class per sample.

    Targets are class indices of shape `(batch,)` or `(batch, 1)`, or rows of class
    probabilities of shape `(batch, num_classes)` that sum to 1: one-hot rows, or soft
    labels, which count as their largest entry. A sample has no label if its index is
    outside `[0, num_classes)` (usually -1) or ignored by the loss, or if its row has
    another sum.

    Args:
        num_classes: Integer of at least 2. `None` if unknown: rows may then have any
            width except 1.
        ignore_class: Optional integer, an index that means "no label", as in Keras's
            losses. Needed only with a custom loss that ignores it.

    Example:

    >>> labels = keras_modals.Classes(3)
    >>> keras_modals.LatentAugmentation(labels=labels).num_classes
    3
    """

    num_classes: Any = None  # type: ignore[misc]
    ignore_class: Any = None

    @classmethod
    def of_arrays(cls, *targets):
        """Infers the number of classes, at least 2, from arrays of targets."""
        arrays = [np.asarray(array) for array in targets]
        return cls(max(2, *(_width(array) for array in arrays)))

    @classmethod
    def of_task(cls, task):
        width = task.shape[-1]
        if len(task.shape) != 2 or width is None:
            cls(2).check_output(task.name, task.shape)
            raise ValueError(
                "Cannot infer the number of classes from an output of shape "
                f"{task.shape}. Pass `num_classes`."
            )
        return cls(max(width, 2))

    @property
    def num_groups(self):
        return self.num_classes

    @property
    def what_is_wrong(self):
        return (
            "their labels are not valid classes: an index is not a whole number in "
            f"[0, {self.num_classes}), or a row does not sum to 1. Use the index -1 "
            "for a sample without a label, `labels=MultiLabels(n)` for several labels "
            "at once, and `labels=Values()` for numbers."
        )

    def _ignored(self, by_loss):
        own = () if self.ignore_class is None else (self.ignore_class,)
        return (*by_loss, *own)

    def _are_rows(self, shape):
        if self.num_classes is None:
            return len(shape) == 2 and shape[-1] != 1
        return len(shape) == 2 and shape[-1] == self.num_classes

    # Tensors ----------------------------------------------------------------

    def groups(self, targets, ignored=(), seed=None, edges=None):
        targets = _as_tensor(targets)
        if self._are_rows(targets.shape):
            total = ops.cast(ops.sum(targets, axis=-1), "float32")
            valid = ops.abs(total - 1.0) < _TOLERANCE
            indices = ops.cast(ops.argmax(targets, axis=-1), "int32")
            return ops.where(valid, indices, IGNORED)
        if not _are_indices(targets.shape):
            raise ValueError(self._shape_message(targets.shape))
        targets = ops.reshape(targets, (-1,))
        valid = targets >= 0
        if self.num_classes is not None:
            valid = valid & (targets < self.num_classes)
        if is_float(targets):
            valid = valid & (targets == ops.floor(targets))
            targets = ops.where(valid, targets, ops.zeros_like(targets))
        for index in self._ignored(ignored):
            valid = valid & (targets != index)
        return ops.where(valid, ops.cast(targets, "int32"), IGNORED)

    def is_left_out(self, targets, ignored=()):
        targets = _as_tensor(targets)
        if self._are_rows(targets.shape):
            return None
        targets = ops.reshape(targets, (-1,))
        unlabeled = targets == IGNORED
        for index in self._ignored(ignored):
            unlabeled = unlabeled | (targets == index)
        return unlabeled

    def lacks_label(self, targets):
        targets = _as_tensor(targets)
        if self._are_rows(targets.shape):
            is_none = ops.any((targets < 0) | (targets != targets), axis=-1)
            return is_none | ops.all(targets == 0, axis=-1)
        targets = ops.reshape(targets, (-1,))
        return (targets == IGNORED) | (targets != targets)

    def says(self, outputs, from_logits=False):
        """Class probabilities, float32 `(..., num_classes)`, from a head's outputs.

        Outputs of width 1 are those of the second of two classes."""
        outputs = ops.cast(outputs, "float32")
        if outputs.shape[-1] == 1:
            outputs = ops.sigmoid(outputs) if from_logits else outputs
            return ops.concatenate([1 - outputs, outputs], axis=-1)
        return ops.softmax(outputs) if from_logits else outputs

    def squared_error(self, said, expected):
        return ops.sum(ops.square(said - expected), axis=-1)

    def cross_entropy(self, said, expected):
        return keras.losses.categorical_crossentropy(expected, said)

    def mixable(self, targets):
        """Class probabilities, float32 `(batch, num_classes)`.

        They are all zero for a sample without a class."""
        if self._are_rows(tuple(targets.shape)):
            return ops.cast(targets, "float32")
        return ops.one_hot(self.groups(targets), self.num_classes, dtype="float32")

    def errors(self, targets, outputs):
        """Whether the most likely class is wrong.

        An output of width 1 predicts the second class above 0.5, as in Keras's
        accuracy."""
        if outputs.shape[-1] == 1:
            predicted = ops.cast(outputs[:, 0] > 0.5, "int32")
        else:
            predicted = ops.cast(ops.argmax(outputs, axis=-1), "int32")
        return ops.cast(predicted != self.groups(targets), "float32")

    # Arrays -----------------------------------------------------------------

    def check(self, targets, ignored=()):
        targets = np.asarray(targets)
        if targets.dtype.kind not in "biuf":
            raise ValueError(
                "Labels must be numbers: class indices or one-hot rows. Number class "
                "names first, with `np.unique(y, return_inverse=True)[1]`. "
                f"Received: labels of dtype {targets.dtype}"
            )
        if not np.all(np.isfinite(targets)):
            raise ValueError(
                "Labels must be finite. Received: labels with NaN or infinity"
            )
        if self._are_rows(targets.shape):
            _check_rows(targets)
        elif _are_indices(targets.shape):
            self._check_indices(targets[~np.isin(targets, self._ignored(ignored))])
        else:
            raise ValueError(self._shape_message(targets.shape))

    def _check_indices(self, targets):
        if np.any(targets != np.floor(targets)):
            value = targets[targets != np.floor(targets)].flat[0]
            raise ValueError(
                "Class labels must be whole numbers. For a regression pass "
                "`labels=keras_modals.Values()`. "
                f"Received: a label of {value}"
            )
        if targets.size and (targets.min() < 0 or targets.max() >= self.num_classes):
            value = targets.min() if targets.min() < 0 else targets.max()
            if np.all(np.isin(targets, (-1, 1))):
                raise ValueError(f"{HINGE} Received: labels of -1 and 1")
            raise ValueError(
                f"Class labels must be in [0, {self.num_classes}), since "
                f"there are num_classes={self.num_classes}. {self._advice(targets)} "
                f"Received: a label of {value}"
            )

    def _advice(self, targets):
        if targets.min() == 1 and targets.max() == self.num_classes:
            return "Do labels start at 1? Subtract 1: the first class is 0."
        return (
            "A sample without a label has the index -1, which the loss must ignore: "
            "use `SparseCategoricalCrossentropy(ignore_class=-1)`. If a custom loss "
            "ignores another index, pass `labels=Classes(n, ignore_class)`."
        )

    def _shape_message(self, shape):
        per_position = ""
        if len(shape) > 1:
            per_position = " If each position has a label, pass `axis=-1`."
        if not shape:
            per_position = " A dataset must have batches: call `.batch(32)`."
        return (
            "Labels must have shape (batch,) or (batch, 1) for class indices, or "
            f"(batch, {self.num_classes}) for one-hot rows, since `LatentAugmentation` "
            f"was given num_classes={self.num_classes}.{per_position} "
            f"Received: labels of shape {tuple(shape)}"
        )

    def shares(self, targets):
        """Class probabilities, float32 NumPy array `(samples, num_classes)`."""
        return ops.convert_to_numpy(self.mixable(np.asarray(targets)))

    def like(self, groups, targets):
        """Converts groups to the form of an array of targets."""
        targets = np.asarray(targets)
        if self._are_rows(targets.shape):
            return self.shares(groups)
        return np.reshape(groups, (-1, *targets.shape[1:]))

    def probabilities(self, outputs, from_logits=False):
        """Same as `says`, as a float32 NumPy array `(samples, num_classes)`."""
        return ops.convert_to_numpy(self.says(np.asarray(outputs), from_logits))

    # Outputs ------------------------------------------------------------------

    def check_output(self, name, shape):
        if len(shape) > 2:
            raise ValueError(
                f"The output '{name}' has a label for each position. Pass `axis=-1` "
                "to `LatentAugmentation`, or let `augment` infer the labels. "
                f"Received: an output of shape {tuple(shape)}"
            )
        if shape[-1] == 1 and self.num_classes > 2:
            raise ValueError(
                "An output of width 1 means two classes or, with "
                "`labels=keras_modals.Values()` in place of `num_classes`, a number. "
                "For more classes, use an output of width `num_classes` and a softmax. "
                f"Received: an output of width 1, num_classes={self.num_classes}"
            )

    def check_task(self, task):
        """Raises for a regression loss."""
        loss = loss_among(task, NUMBERS)
        if loss and gives_numbers(task):
            raise ValueError(
                f"The loss of the output '{task.name}' is that of a regression: pass "
                "`labels=keras_modals.Values()` in place of `num_classes`. For "
                "classes, end the model in a softmax (or a sigmoid of width 1). "
                f"Received: loss={loss}"
            )

    def check_stream(self, task):
        """Raises for an output with several labels at once."""
        is_wide = self.num_classes > 2 or task.shape[-1] == 2
        if is_wide and (task.activation == "sigmoid" or has_several_labels(task)):
            raise ValueError(
                f"The output '{task.name}' has several labels at once, since it uses a "
                "sigmoid or binary cross-entropy: pass "
                f"`labels=keras_modals.MultiLabels({task.shape[-1]})` in place of "
                "`num_classes`. For one class per sample, end the model in a softmax "
                "and compile with "
                "`categorical_crossentropy`. "
                f"Received: an output of width {task.shape[-1]}"
            )


def _as_tensor(targets):
    targets = ops.convert_to_tensor(targets)
    if keras.backend.standardize_dtype(targets.dtype) in _NARROW_DTYPES:
        return ops.cast(targets, "int32")
    return targets


def is_float(tensor):
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def _are_indices(shape):
    return len(shape) == 1 or (len(shape) == 2 and shape[-1] == 1)


def _width(targets):
    if targets.ndim == 2 and targets.shape[1] > 1:
        return targets.shape[1]
    if targets.dtype.kind not in "biuf" or not np.all(np.isfinite(targets)):
        return 2
    return 1 + int(targets.max(initial=0))


def _check_rows(targets):
    totals = targets.sum(axis=1)
    wrong = (np.abs(totals - 1) > _TOLERANCE) | (targets < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            "One-hot labels must be non-negative and sum to 1 in every row. "
            "For several labels at once, pass "
            f"`labels=keras_modals.MultiLabels({targets.shape[1]})`. "
            f"Received: row {row} is {targets[row]}, with sum {totals[row]}"
        )
