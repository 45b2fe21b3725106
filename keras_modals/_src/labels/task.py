"""What a model's output and losses reveal about its task, without any labels."""

from collections import namedtuple

Task = namedtuple("Task", ["name", "shape", "losses", "activation"])
Task.__doc__ = """An output of a model and the losses it is trained with.

Attributes:
    name: Name of the output.
    shape: Shape of the output.
    losses: List of the names of its losses, for those that are Keras functions.
    activation: Name of the Keras activation that produces it; `None` if unknown.
"""

#: Keras losses for regression, unless the output is probabilities.
NUMBERS = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "cosine_similarity",
    "huber",
    "log_cosh",
    "poisson",
)

#: Keras losses for several labels at once, unless there is a softmax.
SEVERAL_LABELS = ("binary_crossentropy", "binary_focal_crossentropy")

#: Keras losses for one class per sample.
ONE_CLASS = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
)

#: Keras losses for classes.
CLASSES = (*SEVERAL_LABELS, "crossentropy", *ONE_CLASS)

_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")


def loss_among(task, names):
    """The first of a task's losses that is among `names`, else `None`."""
    return next((loss for loss in task.losses if loss in names), None)


def has_several_labels(task):
    """Whether an output and its losses are, or may be, for several labels at once."""
    if task.activation == "sigmoid":
        return not loss_among(task, ONE_CLASS)
    return bool(loss_among(task, SEVERAL_LABELS)) and task.activation != "softmax"


def gives_numbers(task):
    """Whether an output has a known activation that does not produce probabilities."""
    return task.activation is not None and task.activation not in _PROBABILITIES
