"""What output and loss say about a task, before there are labels."""

from collections import namedtuple

Task = namedtuple("Task", ["name", "shape", "losses", "activation"])
Task.__doc__ = """An output of a model, and what it is trained with.

Attributes:
    name: Name of the output.
    shape: Its shape.
    losses: List of the names of its losses, as far as they are functions of Keras.
    activation: Name of the activation of Keras that it comes from; `None` where it
        cannot be told.
"""

#: Losses of Keras that are of a regression, unless the output is probabilities.
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

#: Losses of Keras that are of several labels at once, unless there is a softmax.
SEVERAL_LABELS = ("binary_crossentropy", "binary_focal_crossentropy")

#: Losses of Keras that are of one class.
ONE_CLASS = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
)

#: Losses of Keras that are of classes.
CLASSES = (*SEVERAL_LABELS, "crossentropy", *ONE_CLASS)

_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")


def loss_among(task, names):
    """One of a task's losses that has one of the names, else `None`."""
    return next((loss for loss in task.losses if loss in names), None)


def has_several_labels(task):
    """Whether an output and its losses are of several labels at once, or may be."""
    if task.activation == "sigmoid":
        return not loss_among(task, ONE_CLASS)
    return bool(loss_among(task, SEVERAL_LABELS)) and task.activation != "softmax"


def gives_numbers(task):
    """Whether an output comes from an activation that is not for probabilities."""
    return task.activation is not None and task.activation not in _PROBABILITIES
