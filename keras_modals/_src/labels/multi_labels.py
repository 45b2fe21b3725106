import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_integer
from keras_modals._src.indices import uniform_index
from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.task import ONE_CLASS, has_several_labels, loss_among


@keras.saving.register_keras_serializable("keras_modals")
@dataclasses.dataclass(frozen=True)
class MultiLabels(Labels):
    """Several labels at once, such as findings in an X-ray or tags of a text.

    Targets are rows of 0 and 1 of shape `(batch, num_labels)` with any number of ones.
    Mixing interpolates them. Components that need one class, such as the memory of
    latents, assign a sample to the group of one of its labels, redrawn in each step;
    samples without any label form their own group. For triplets, two samples are
    positives if they share a label, and negatives if they share none.

    An unlabeled sample has -1 in its row and is left unmoved; the model's loss must
    leave it out.

    Args:
        num_labels: Integer of at least 2, the number of labels.

    Example:

    >>> labels = keras_modals.MultiLabels(14)
    >>> layer = keras_modals.LatentAugmentation(labels=labels)
    """

    mixes_targets = True
    are_several = True

    num_labels: Any = None

    def __post_init__(self):
        check_integer("num_labels", self.num_labels, 2)

    @classmethod
    def of_task(cls, task):
        width = task.shape[-1]
        is_row = len(task.shape) == 2 and width is not None and width > 1
        return cls(width) if is_row and has_several_labels(task) else None

    @property
    def what_is_wrong(self):
        return "their labels contain numbers that are not in [0, 1]."

    @property
    def num_groups(self):
        # The last group is for samples with none of the labels.
        return self.num_labels + 1

    # Tensors ----------------------------------------------------------------

    def groups(self, targets, ignored=(), seed=None, edges=None):
        targets = ops.cast(ops.convert_to_tensor(targets), "float32")
        known = ops.all((targets >= 0.0) & (targets <= 1.0), axis=-1)
        has_label = targets >= 0.5
        order = ops.cumsum(ops.cast(has_label, "int32"), axis=-1)
        count = order[:, -1]
        number = ops.zeros_like(count)
        if seed is not None:
            number = uniform_index(backend.uniform(ops.shape(count), seed), count)
        chosen = has_label & (order == number[:, None] + 1)
        chosen = ops.cast(ops.argmax(ops.cast(chosen, "int32"), axis=-1), "int32")
        groups = ops.where(count > 0, chosen, self.num_labels)
        return ops.where(known, groups, IGNORED)

    def compared(self, targets, groups):
        rows = ops.cast(ops.cast(targets, "float32") >= 0.5, "float32")
        return ops.where(groups[:, None] == IGNORED, -1.0, rows)

    def is_left_out(self, targets, ignored=()):
        return ops.any(ops.cast(targets, "float32") < 0, axis=-1)

    def lacks_label(self, targets):
        targets = ops.cast(ops.convert_to_tensor(targets), "float32")
        return ops.any((targets < 0) | (targets != targets), axis=-1)

    def says(self, outputs, from_logits=False):
        outputs = ops.cast(outputs, "float32")
        return ops.sigmoid(outputs) if from_logits else outputs

    def squared_error(self, said, expected):
        # Each label is a draw with two outcomes, and losses are means over labels.
        return 2.0 * ops.mean(ops.square(said - expected), axis=-1)

    def cross_entropy(self, said, expected):
        return keras.losses.binary_crossentropy(expected, said)

    def mixable(self, targets):
        return ops.cast(targets, "float32")

    def errors(self, targets, outputs):
        """The share of wrong labels; as in Keras's accuracy, above 0.5 means 1."""
        wrong = (outputs > 0.5) != (ops.cast(targets, "float32") > 0.5)
        return ops.mean(ops.cast(wrong, "float32"), axis=-1)

    # Arrays -----------------------------------------------------------------

    def check(self, targets, ignored=()):
        targets = np.asarray(targets)
        if targets.dtype.kind not in "biuf":
            raise ValueError(
                "Labels must be rows of 0 and 1. Encode names first, for example with "
                "`keras.layers.StringLookup(output_mode='multi_hot')`. "
                f"Received: labels of dtype {targets.dtype}"
            )
        if targets.ndim != 2 or targets.shape[1] != self.num_labels:
            raise ValueError(
                "Labels for `MultiLabels` must be rows of 0 and 1 of shape "
                f"(batch, {self.num_labels}). Received: labels of shape {targets.shape}"
            )
        known = targets
        if IGNORED in ignored:
            known = targets[(targets >= 0).all(axis=1)]
        wrong = ~((known >= 0) & (known <= 1)).all(axis=1)
        if wrong.any():
            raise ValueError(
                "Labels for `MultiLabels` must be in [0, 1]. An unlabeled sample has "
                "-1 in its row and needs a custom loss that leaves it out. "
                f"Received: a row {known[wrong][0]}"
            )

    # Outputs ------------------------------------------------------------------

    def check_output(self, name, shape):
        if len(shape) != 2 or shape[-1] != self.num_labels:
            raise ValueError(
                f"The output '{name}' must have the shape (batch, {self.num_labels}) "
                f"for the labels {self}. Received: an output of shape {tuple(shape)}"
            )

    def check_task(self, task):
        """Raises for a loss of one class per sample."""
        loss = loss_among(task, ONE_CLASS)
        if loss or task.activation == "softmax":
            raise ValueError(
                f"The softmax or the loss of the output '{task.name}' means one class "
                "per sample. End the model in a sigmoid and compile with "
                "`binary_crossentropy`, or pass `num_classes` in place of `labels`. "
                f"Received: activation={task.activation}, loss={task.losses}"
            )
