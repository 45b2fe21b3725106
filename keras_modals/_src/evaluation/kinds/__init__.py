"""What differs by the kind of labels that a comparison is of."""

import keras

from keras_modals._src.evaluation.kinds.classes import ClassKind
from keras_modals._src.evaluation.kinds.kind import Kind
from keras_modals._src.evaluation.kinds.multi_labels import MultiLabelKind
from keras_modals._src.evaluation.kinds.positions import PositionKind
from keras_modals._src.evaluation.kinds.values import ValueKind
from keras_modals._src.labels import Classes, MultiLabels, Positions, Values, labels_of
from keras_modals._src.models.graph import plain
from keras_modals._src.models.task import task_of
from keras_modals._src.training.losses import may_be_unlabeled
from keras_modals._src.training.outputs import output_names

#: What is compared, by the class of the labels.
KINDS: dict[type, type[Kind]] = {
    Classes: ClassKind,
    Values: ValueKind,
    MultiLabels: MultiLabelKind,
}


def kind_of(labels, shape, ignored=()):
    """The `Kind` of labels, of an output of this shape, whose loss ignores some."""
    if isinstance(labels, Positions):
        each = kind_of(labels.labels, (None, shape[-1]), ignored)
        return PositionKind(labels, shape, ignored, each)
    if type(labels) not in KINDS:
        raise ValueError(
            "Invalid value received for argument `labels`. Expected `None`, or labels "
            "such as `keras_modals.Values()`: one of "
            f"{[each.__name__ for each in (*KINDS, Positions)]}. "
            f"Received: labels={labels!r}"
        )
    return KINDS[type(labels)](labels, shape, ignored)


def kind_of_model(model, labels=None):
    """The `Kind` of the labels of a compiled model: those given, or what output and
    loss tell."""
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or not hasattr(model, "inputs"):
        raise ValueError(
            "`build_fn` must return a Functional or Sequential model with one output. "
            f"Received: a model with the output shape {shape}"
        )
    functional = plain(model)
    task = task_of(functional, output_names(functional)[0], model.loss)
    given, labels = labels, labels_of(task) if labels is None else labels
    losses = keras.tree.flatten(model.loss)
    kind = kind_of(labels, shape, may_be_unlabeled(losses))
    if given is not None:
        labels.check_output(task.name, shape)
        labels.check_task(task)
    return kind


__all__ = ["KINDS", "Kind", "kind_of", "kind_of_model"]
