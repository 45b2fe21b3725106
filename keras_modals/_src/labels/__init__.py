"""What the targets of a task say: the one place that reads them.

Inside, a sample has a group, an int32 index: the memory keeps latents of each, and the
triplet loss tells them apart. `IGNORED` is that of a sample without a label, which is
left alone and enters no memory.
"""

from keras_modals._src.labels.batch_labels import BatchLabels, of_groups
from keras_modals._src.labels.classes import Classes
from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.multi_labels import MultiLabels
from keras_modals._src.labels.positions import Positions
from keras_modals._src.labels.task import NUMBERS, loss_among
from keras_modals._src.labels.values import Values

#: In the order in which a task is looked at.
KINDS = (Values, Positions, MultiLabels, Classes)


def labels_of(task):
    """The kind of labels that a task has, as far as output and losses tell."""
    loss = loss_among(task, NUMBERS)
    if loss and task.activation is None:
        raise ValueError(
            f"Cannot tell what the labels of the output '{task.name}' are, since the "
            "loss is of numbers and the activation is not known: pass "
            "`labels=keras_modals.Values()` for a regression, or `num_classes`. "
            f"Received: loss={loss}"
        )
    found = (kind.of_task(task) for kind in KINDS)
    return next(labels for labels in found if labels is not None)


__all__ = [
    "IGNORED",
    "KINDS",
    "BatchLabels",
    "Classes",
    "Labels",
    "MultiLabels",
    "Positions",
    "Values",
    "labels_of",
    "of_groups",
]
