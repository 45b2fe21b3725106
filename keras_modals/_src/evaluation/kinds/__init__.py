"""The kinds of labels that a comparison supports, and what differs between them."""

from keras_modals._src.evaluation.compiled import name_of_loss
from keras_modals._src.evaluation.kinds.classes import ClassKind
from keras_modals._src.evaluation.kinds.kind import Kind
from keras_modals._src.evaluation.kinds.multi_labels import MultiLabelKind
from keras_modals._src.evaluation.kinds.positions import PositionKind
from keras_modals._src.evaluation.kinds.values import ValueKind
from keras_modals._src.evaluation.label_output import LabelOutput
from keras_modals._src.labels import Classes, MultiLabels, Positions, Values, labels_of
from keras_modals._src.models.graph import plain
from keras_modals._src.models.task import task_of
from keras_modals._src.training.losses import loss_named, may_be_unlabeled

#: Dict from classes of labels to classes of kinds.
KINDS: dict[type, type[Kind]] = {
    Classes: ClassKind,
    Values: ValueKind,
    MultiLabels: MultiLabelKind,
}


def kind_of(labels, shape, ignored=()):
    """Returns the `Kind` for labels, the shape of the output, and ignored labels."""
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


def kind_of_model(model, labels=None, label_output=None):
    """Returns the `Kind` for the labels of a compiled model.

    By default, the model's output and loss determine the labels.
    """
    if not getattr(model, "inputs", None) or not hasattr(model, "output_shape"):
        raise ValueError(
            "`build_fn` must return a Functional or Sequential model. "
            f"Received: build_fn()={model!r}"
        )
    output, functional = LabelOutput.of_model(model, label_output), plain(model)
    shape = tuple(output.of(functional.output).shape)
    task = task_of(functional, output.name, model.loss)
    given, labels = labels, labels_of(task) if labels is None else labels
    kind = kind_of(labels, shape, may_be_unlabeled(output.losses(model)))
    kind.output = output
    losses = map(loss_named, output.losses(model))
    kind.losses = tuple(map(name_of_loss, losses))
    if given is not None:
        labels.check_output(task.name, shape)
        labels.check_task(task)
    return kind


__all__ = ["KINDS", "Kind", "kind_of", "kind_of_model"]
