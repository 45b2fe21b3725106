"""Kinds of targets. The only code that interprets them.

Internally each sample belongs to a group, an int32 index: the memory keeps latents
per group, and the triplet loss tells groups apart. Samples without a label have the
group `IGNORED`; they are left unmoved and enter no memory.
"""

from keras_modals._src.labels.batch_labels import BatchLabels, of_groups
from keras_modals._src.labels.classes import Classes
from keras_modals._src.labels.labels import IGNORED, Labels
from keras_modals._src.labels.multi_labels import MultiLabels
from keras_modals._src.labels.positions import Positions
from keras_modals._src.labels.task import NUMBERS, loss_among
from keras_modals._src.labels.values import Values

#: In the order in which they are tried for a task.
KINDS = (Values, Positions, MultiLabels, Classes)


def labels_of(task):
    """Infers the kind of labels of a task from its output and losses."""
    loss = loss_among(task, NUMBERS)
    if loss and task.activation is None:
        raise ValueError(
            f"Cannot infer the labels of the output '{task.name}': its loss is a "
            "regression loss and its activation is unknown. Pass "
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
