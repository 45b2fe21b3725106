import dataclasses
from typing import ClassVar

import numpy as np
from keras import ops

from keras_modals._src.labels.batch_labels import BatchLabels

#: The group of a sample without a label.
IGNORED = -1

#: Entries of the counts returned by `Labels.read`.
SAMPLES, WITHOUT_LABEL, WRONG, STEPS = range(4)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Base class of all kinds of labels.

    A plain value without state. Targets come in the form that users pass them, with
    samples on the first axis.

    Attributes:
        mixes_targets: Whether the two targets of a mixed row are mixed into one. If
            not, the row has both targets, and the loss weights them.
        num_bins: For numeric targets, the number of bins that samples fall into, with
            edges from a running estimate; 0 for other targets.
        num_classes: The number of classes; `None` if labels are not classes.
        per_position: Whether each position of a sample has a label.
        are_several: Whether a sample may have several labels at once.
    """

    mixes_targets: ClassVar[bool] = False
    num_bins: ClassVar[int] = 0
    num_classes: ClassVar[int | None] = None
    per_position: ClassVar[bool] = False
    are_several: ClassVar[bool] = False

    @classmethod
    def of_task(cls, task):
        """Returns labels of this kind if they match a `Task`, else `None`."""
        raise NotImplementedError

    @property
    def what_is_wrong(self):
        """Describes unusable targets, for messages."""
        raise NotImplementedError

    @property
    def num_groups(self):
        """The number of groups that samples fall into; `None` if unknown."""
        raise NotImplementedError

    def check(self, targets, ignored=()):
        """Checks an array of targets.

        Args:
            targets: NumPy array.
            ignored: Labels that the loss ignores.

        Raises:
            ValueError: If the targets are of another kind.
        """
        raise NotImplementedError

    def groups(self, targets, ignored=(), seed=None, edges=None):
        """Each sample's group, int32 `(batch,)`; `IGNORED` if it has none.

        Args:
            targets: Tensor.
            ignored: Labels that the loss ignores.
            seed: Optional `keras.random.SeedGenerator`, used to draw one group for a
                sample in several groups. Without it, the first is taken.
            edges: Optional float32 `(num_bins - 1,)`, ascending, the upper edges of all
                bins except the last. Without them, all samples are in the first bin.
        """
        raise NotImplementedError

    def compared(self, targets, groups):
        """What terms compare samples by: their groups, or rows of 0 and 1."""
        return groups

    def is_left_out(self, targets, ignored=()):
        """Whether targets declare that a sample has no label, boolean `(batch,)`.

        `None` for a form of targets that cannot declare it."""
        raise NotImplementedError

    def lacks_label(self, targets):
        """Whether a label is declared missing, by an index of -1, a row with NaN or -1,
        or a NaN. Labels that the loss ignores are a separate matter.

        Returns:
            Boolean `(batch,)` or, with a label for each position, `(batch, ...)`."""
        raise NotImplementedError

    def labeled(self, targets):
        """An array of targets without those that lack a label."""
        return targets[~ops.convert_to_numpy(self.lacks_label(targets))]

    def says(self, outputs, from_logits=False):
        """A head's predictions: class or label probabilities, or numbers.

        Returns:
            float32 `(..., n)`."""
        raise NotImplementedError

    def squared_error(self, said, expected):
        """Squared error between probabilities, summed over the outcomes of a draw.

        The result is float32 and lacks the last axis of the arguments."""
        raise NotImplementedError

    def cross_entropy(self, said, expected):
        """Cross-entropy between probabilities, with the shape of `squared_error`."""
        raise NotImplementedError

    def mixable(self, targets):
        """Targets as floats that can be mixed."""
        raise NotImplementedError

    def errors(self, targets, outputs):
        """Each sample's error, one minus its accuracy: float32 `(batch,)`, in
        `[0, 1]`."""
        raise NotImplementedError

    def check_output(self, name, shape):
        """Raises if a head's output predicts another kind of labels."""

    def check_task(self, task):
        """Raises if a compiled `Task` is for another kind of labels."""

    def check_stream(self, task):
        """Same as `check_task`, if there is no array of labels to check."""

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def read(self, targets, ignored=(), seed=None, edges=None, unlabeled=None):
        """Reads a batch's targets.

        Args:
            targets, ignored, seed, edges: As in `groups`.
            unlabeled: The result of `lacks_label`, if something learns from unlabeled
                samples. These targets then do not count as wrong.

        Returns:
            Pair of `BatchLabels` and counts, int32 `(4,)`: the number of samples, of
            samples without a group, of those whose target is wrong (declares no missing
            label), and 1 for the step.
        """
        groups = self.groups(targets, ignored, seed, edges)
        compared = self.compared(targets, groups)
        labels = BatchLabels(groups, groups, compared, targets, unlabeled)
        return labels, self._counts(targets, groups, ignored, unlabeled)

    def _counts(self, targets, groups, ignored, unlabeled):
        wrong = without = groups == IGNORED
        for right in (self.is_left_out(targets, ignored), unlabeled):
            if right is not None:
                wrong = wrong & ops.logical_not(ops.reshape(right, (-1,)))
        is_first = ops.arange(ops.shape(groups)[0], dtype="int32") == 0
        masks = ops.stack([ops.ones_like(without), without, wrong, is_first])
        return ops.sum(ops.cast(masks, "int32"), axis=1)

    def groups_of_array(self, targets):
        """Same as `groups`, but takes and returns NumPy arrays."""
        return ops.convert_to_numpy(self.groups(np.asarray(targets)))
