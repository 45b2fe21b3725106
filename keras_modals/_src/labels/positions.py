import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals._src.labels.batch_labels import BatchLabels
from keras_modals._src.labels.classes import Classes, is_float
from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.multi_labels import MultiLabels


@keras.saving.register_keras_serializable("keras_modals")
@dataclasses.dataclass(frozen=True)
class Positions(Labels):
    """A label for each position, such as a token of a text or a pixel of an image.

    Targets have an axis of samples, then the axes of positions, which match the model's
    output without its last axis: `(batch, time)` or `(batch, height, width)` for class
    indices. One-hot rows of floats and, with `MultiLabels`, rows of 0 and 1 have one
    more axis, for the classes.

    Samples are mixed whole, with the same partner and share at all positions.
    Operations that keep labels, the memory, and terms treat each position separately;
    latents must then have the positions of the labels, with features on the last axis.

    A position has no label if its index is outside `[0, num_classes)` (usually -1,
    -100, or 255) or ignored by the loss, or if its one-hot row is all zeros. No
    operation moves it individually, and it enters no memory and no term. A masked
    position is not mixed either.

    Args:
        labels: The labels of each position, `keras_modals.Classes` or
            `keras_modals.MultiLabels`.

    Example:

    >>> labels = keras_modals.Positions(keras_modals.Classes(17))
    >>> layer = keras_modals.LatentAugmentation(labels=labels)
    >>> layer.labels == keras_modals.LatentAugmentation(17, axis=-1).labels
    True
    """

    labels: Any = None

    per_position = True

    def __post_init__(self):
        if not isinstance(self.labels, (Classes, MultiLabels)):
            raise ValueError(
                "Invalid value received for argument `labels`. Expected "
                "`keras_modals.Classes` or `keras_modals.MultiLabels`. "
                f"Received: labels={self.labels!r}"
            )

    @classmethod
    def of_task(cls, task):
        if len(task.shape) < 3 or None in (width := task.shape[-1:]):
            return None
        each = task._replace(shape=(None, *width))
        return cls(MultiLabels.of_task(each) or Classes.of_task(each))

    @property
    def mixes_targets(self):  # type: ignore[override]
        return self.labels.mixes_targets

    @property
    def are_several(self):  # type: ignore[override]
        return self.labels.are_several

    @property
    def num_classes(self):  # type: ignore[override]
        return self.labels.num_classes

    @property
    def num_groups(self):
        return self.labels.num_groups

    @property
    def what_is_wrong(self):
        return self.labels.what_is_wrong

    def _rows(self, targets):
        """Targets with all positions on one axis."""
        targets = ops.convert_to_tensor(targets)
        if self._are_rows(targets):
            return ops.reshape(targets, (-1, targets.shape[-1]))
        return ops.reshape(targets, (-1,))

    def _are_rows(self, targets):
        if isinstance(self.labels, MultiLabels):
            return True
        return is_float(targets) and targets.shape[-1] == self.labels.num_classes

    # Tensors ----------------------------------------------------------------

    def positions(self, targets):
        """The shape of the positions of targets, `(batch, ...)`."""
        targets = ops.convert_to_tensor(targets)
        is_column = len(targets.shape) > 2 and targets.shape[-1] == 1
        shape = ops.shape(targets)
        return shape[:-1] if is_column or self._are_rows(targets) else shape

    def read(self, targets, ignored=(), seed=None, edges=None, unlabeled=None):
        rows = self._rows(targets)
        groups = self.labels.groups(rows, ignored, seed)
        by_sample = ops.reshape(groups != IGNORED, (ops.shape(targets)[0], -1))
        samples = ops.where(ops.any(by_sample, axis=1), 0, IGNORED)
        compared = self.labels.compared(rows, groups)
        labels = BatchLabels(groups, samples, compared, targets, unlabeled)
        return labels, self._counts(rows, groups, ignored, unlabeled)

    def groups(self, targets, ignored=(), seed=None, edges=None):
        """The group of each position, int32 `(batch * positions,)`."""
        return self.labels.groups(self._rows(targets), ignored, seed)

    def is_left_out(self, targets, ignored=()):
        unlabeled = self.labels.is_left_out(targets, ignored)
        # A one-hot row of zeros has no loss.
        return ops.all(targets == 0, axis=-1) if unlabeled is None else unlabeled

    def lacks_label(self, targets):
        lacking = self.labels.lacks_label(self._rows(targets))
        return ops.reshape(lacking, self.positions(targets))

    def labeled(self, targets):
        # The sample has labels at its other positions.
        lacking = ops.convert_to_numpy(self.lacks_label(targets))
        lacking = lacking.reshape(lacking.shape + (1,) * (targets.ndim - lacking.ndim))
        return np.where(lacking, np.zeros_like(targets), targets)

    def says(self, outputs, from_logits=False):
        return self.labels.says(outputs, from_logits)

    def squared_error(self, said, expected):
        return self.labels.squared_error(said, expected)

    def cross_entropy(self, said, expected):
        return self.labels.cross_entropy(said, expected)

    def mixable(self, targets):
        rows = self.labels.mixable(self._rows(targets))
        return ops.reshape(rows, (*self.positions(targets), rows.shape[-1]))

    # Arrays -----------------------------------------------------------------

    def check(self, targets, ignored=()):
        targets = np.asarray(targets)
        if targets.ndim < 2 or targets.dtype.kind not in "biuf":
            raise ValueError(
                "Labels of positions must be numbers of shape (batch, positions), "
                "with one more axis for one-hot rows. Pad sequences of different "
                "lengths with an index that the loss ignores. Received: targets of "
                f"shape {targets.shape} and dtype {targets.dtype}"
            )
        may_be_rows = targets.ndim > 2 and targets.shape[-1] == self.num_classes
        is_whole = targets.dtype.kind in "biu"
        if may_be_rows and is_whole and np.all(targets.sum(axis=-1) == 1):
            raise ValueError(
                "One-hot labels of positions must be floats, since integers are read "
                "as class indices. Use `y.astype('float32')`. "
                f"Received: targets of dtype {targets.dtype}, shape {targets.shape}"
            )
        rows = ops.convert_to_numpy(self._rows(targets))
        if rows.ndim == 2 and isinstance(self.labels, Classes):
            rows = rows[rows.any(axis=1)]
        self.labels.check(rows, ignored)

    # Outputs ------------------------------------------------------------------

    def check_output(self, name, shape):
        if len(shape) < 3:
            raise ValueError(
                f"The output '{name}' has no axis of positions for the labels {self}. "
                f"Received: an output of shape {tuple(shape)}"
            )
        self.labels.check_output(name, (shape[0], shape[-1]))

    def check_task(self, task):
        self.labels.check_task(_of_each(task))

    def check_stream(self, task):
        self.labels.check_stream(_of_each(task))

    def get_config(self):
        return {"labels": keras.saving.serialize_keras_object(self.labels)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["labels"]))


def _of_each(task):
    """The task of a single position."""
    return task._replace(shape=(task.shape[0], task.shape[-1]))
