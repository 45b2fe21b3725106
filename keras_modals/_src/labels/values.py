import dataclasses

import keras
import numpy as np
from keras import ops

from keras_modals._src.arguments import check_integer
from keras_modals._src.labels.classes import is_float
from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.task import CLASSES, NUMBERS, gives_numbers, loss_among


@keras.saving.register_keras_serializable("keras_modals")
@dataclasses.dataclass(frozen=True)
class Values(Labels):
    """Real numbers, the targets of a regression.

    Targets have samples on the first axis and any shape: one number per sample, several
    columns, or a series. Mixing interpolates them.

    Where classes are needed, bins of the target take their place: in the memory and the
    operations that read it, in balanced partners, and in triplets. Bins are equally
    frequent, with quantiles of the last 1,024 targets as edges. If a target has several
    numbers, their mean determines the bin, so columns should have the same scale.

    Args:
        num_bins: Integer of at least 2. Defaults to `10`.

    Example:

    >>> layer = keras_modals.LatentAugmentation(labels=keras_modals.Values(), seed=0)
    >>> data = {"latents": np.ones((4, 8)), "labels": np.arange(4.0)}
    >>> sorted(layer(data, training=True))
    ['labels', 'latents']
    """

    mixes_targets = True

    num_bins: int = 10  # type: ignore[misc]

    def __post_init__(self):
        check_integer("num_bins", self.num_bins, 2)

    @classmethod
    def of_task(cls, task):
        is_regression = loss_among(task, NUMBERS) and gives_numbers(task)
        return cls() if is_regression else None

    @property
    def what_is_wrong(self):
        return "their targets contain numbers that are not finite."

    @property
    def num_groups(self):
        return self.num_bins

    # Tensors ----------------------------------------------------------------

    def groups(self, targets, ignored=(), seed=None, edges=None):
        """The bin of each sample's mean; `IGNORED` if a number is not finite."""
        means = self.means(targets)
        known = ops.isfinite(means)
        if edges is None:
            return ops.where(known, 0, IGNORED)
        bins = ops.sum(ops.cast(means[:, None] > edges, "int32"), axis=1)
        return ops.where(known, bins, IGNORED)

    def means(self, targets):
        """The mean of each sample's numbers, float32 `(batch,)`."""
        targets = ops.cast(ops.convert_to_tensor(targets), "float32")
        targets = ops.reshape(targets, (ops.shape(targets)[0], -1))
        return ops.mean(targets, axis=-1)

    def is_left_out(self, targets, ignored=()):
        return None

    def lacks_label(self, targets):
        targets = ops.convert_to_tensor(targets)
        if not is_float(targets):
            raise ValueError(
                "To learn from unlabeled samples, regression targets must be floats, "
                "with NaN for a missing one. Use `y.astype('float32')`. "
                f"Received: targets of dtype {targets.dtype}"
            )
        is_none = ops.reshape(targets != targets, (ops.shape(targets)[0], -1))
        return ops.any(is_none, axis=-1)

    def says(self, outputs, from_logits=False):
        return ops.cast(outputs, "float32")

    def mixable(self, targets):
        return ops.cast(targets, "float32")

    def errors(self, targets, outputs):
        raise ValueError(
            "A regression has no accuracy. Score it by its loss: pass "
            '`objective="val_loss"`.'
        )

    # Arrays -----------------------------------------------------------------

    def check(self, targets, ignored=()):
        targets = np.asarray(targets)
        if targets.dtype.kind not in "biuf":
            raise ValueError(
                f"Targets must be numbers. Received: targets of dtype {targets.dtype}"
            )
        if not np.all(np.isfinite(targets)):
            raise ValueError(
                "Targets must be finite. Received: targets with NaN or infinity"
            )

    # Outputs ------------------------------------------------------------------

    def check_task(self, task):
        loss = loss_among(task, CLASSES)
        if loss:
            raise ValueError(
                f"The output '{task.name}' has a classification loss, but the labels "
                "are `Values`. Pass `num_classes` in place of `labels`. "
                f"Received: loss={loss}"
            )
