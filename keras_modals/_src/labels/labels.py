import dataclasses
from typing import ClassVar

import numpy as np
from keras import ops

from keras_modals._src.labels.batch_labels import BatchLabels

#: The group of a sample that has no label.
IGNORED = -1

#: Entries of the counts that `Labels.read` returns.
SAMPLES, WITHOUT_LABEL, WRONG, STEPS = range(4)


@dataclasses.dataclass(frozen=True)
class Labels:
    """A kind of labels: the base class of all of them.

    A plain value without state. Targets come as users give them, with the labels of
    all samples on the first axis.

    Attributes:
        mixes_targets: Whether a mixed row has one target, its two mixed. Else it has
            both, and the loss weights them.
        num_bins: Where targets are numbers, in how many bins of them samples fall, by
            edges that a stream tells; else 0.
        num_classes: The number of classes; `None` where labels are none.
        per_position: Whether each position of a sample has a label.
        are_several: Whether there may be several labels at once.
    """

    mixes_targets: ClassVar[bool] = False
    num_bins: ClassVar[int] = 0
    num_classes: ClassVar[int | None] = None
    per_position: ClassVar[bool] = False
    are_several: ClassVar[bool] = False

    @classmethod
    def of_task(cls, task):
        """Labels of this kind, if a `Task` has such; else `None`."""
        raise NotImplementedError

    @property
    def what_is_wrong(self):
        """What targets are that cannot be used, for messages."""
        raise NotImplementedError

    @property
    def num_groups(self):
        """The number of groups that samples fall into; `None` where it is not known."""
        raise NotImplementedError

    def check(self, targets, ignored=()):
        """Raises a `ValueError` where an array of targets is of another kind.

        Args:
            targets: NumPy array.
            ignored: Labels that the loss ignores.
        """
        raise NotImplementedError

    def groups(self, targets, ignored=(), seed=None, edges=None):
        """Each sample's group, int32 `(batch,)`; `IGNORED` where it has none.

        Args:
            targets: Tensor.
            ignored: Labels that the loss ignores.
            seed: A `keras.random.SeedGenerator`, by which a sample in several groups
                has one of them drawn. Without it, it has the first.
            edges: Float32 `(num_bins - 1,)`, ascending, the upper edges of all bins but
                the last. Without them, all samples are in the first.
        """
        raise NotImplementedError

    def compared(self, targets, groups):
        """What terms compare samples by: their groups, or rows of 0 and 1."""
        return groups

    def is_left_out(self, targets, ignored=()):
        """Where targets say that a sample has no label, boolean `(batch,)`; `None` for
        a form of targets that cannot say so."""
        raise NotImplementedError

    def lacks_label(self, targets):
        """Where targets say that there is no label, but that there could be: an index
        of -1, a row that has NaN or -1, a number that is NaN. Boolean `(batch,)`, or
        for each position, `(batch, ...)`. What a loss ignores is another thing."""
        raise NotImplementedError

    def labeled(self, targets):
        """An array of targets without those that lack a label."""
        return targets[~ops.convert_to_numpy(self.lacks_label(targets))]

    def says(self, outputs, from_logits=False):
        """What a head's outputs say, float32 `(..., n)`: probabilities, of each class
        or of each label, or numbers."""
        raise NotImplementedError

    def squared_error(self, said, expected):
        """How far probabilities are from others, float32, without their last axis: the
        sum of squares over the outcomes of a draw."""
        raise NotImplementedError

    def cross_entropy(self, said, expected):
        """The cross-entropy of probabilities with others, as `squared_error`."""
        raise NotImplementedError

    def mixable(self, targets):
        """Targets as floats, of which two can be mixed."""
        raise NotImplementedError

    def errors(self, targets, outputs):
        """How wrong a head's outputs are for each sample, float32 `(batch,)` in
        `[0, 1]`: one minus its accuracy."""
        raise NotImplementedError

    def check_output(self, name, shape):
        """Refuses an output of a head that predicts another kind of labels."""

    def check_task(self, task):
        """Refuses a compiled `Task` of another kind of labels."""

    def check_stream(self, task):
        """As `check_task`, where no array of labels can tell."""

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def read(self, targets, ignored=(), seed=None, edges=None, unlabeled=None):
        """Reads a batch's targets.

        Args:
            targets, ignored, seed, edges: As in `groups`.
            unlabeled: What `lacks_label` says, where something learns from samples
                without labels: these targets are then not wrong.

        Returns:
            Pair of `BatchLabels`, and of counts, int32 `(4,)`: of the samples, those
            without a group, those of them whose target does not say so, and is wrong,
            and 1, for the step.
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
        """As `groups`, from and to NumPy."""
        return ops.convert_to_numpy(self.groups(np.asarray(targets)))
