"""What output and loss say about the task, before there are labels: what is no single
class per sample is refused."""

import keras

from keras_modals._src.models.graph import Graph
from keras_modals._src.training.outputs import by_output

_REGRESSION = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "cosine_similarity",
    "huber",
    "log_cosh",
    "poisson",
)
_SEVERAL_LABELS = ("binary_crossentropy", "binary_focal_crossentropy")


def check_loss(model):
    """Refuses a loss of regression on the output of the class labels."""
    name = model.output_map.label
    losses = [_function(loss) for loss in model.output_map.losses[name]]
    found = [loss for loss in losses if _is_one_of(loss, _REGRESSION)]
    if found and _gives_no_probabilities(_activation(model, name)):
        raise ValueError(
            f"The loss of the output '{name}' is that of a regression, which "
            "`LatentAugmentation` does not support: end the model in a softmax (or a "
            "sigmoid of width 1) for classes, or train it without the layer. "
            f"Received: loss={found[0].__name__}"
        )


def check_stream_of_labels(model):
    """Refuses an output with several labels at once, where labels cannot tell."""
    name = model.output_map.label
    width = model.latent_augmentation.num_classes
    losses = [_function(loss) for loss in model.output_map.losses[name]]
    activation = _activation(model, name)
    is_wide = width > 2 or _output(model, name).shape[-1] == 2
    if is_wide and (
        activation is keras.activations.sigmoid
        or (
            any(_is_one_of(loss, _SEVERAL_LABELS) for loss in losses)
            and activation is not keras.activations.softmax
        )
    ):
        raise ValueError(
            f"The output '{name}' has several labels at once, by its sigmoid or "
            "binary cross-entropy, which `LatentAugmentation` does not support. For "
            "one class per sample end the model in a softmax and compile with "
            "`categorical_crossentropy`. "
            f"Received: an output of width {_output(model, name).shape[-1]}"
        )


_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")


def _gives_no_probabilities(activation):
    """Whether an activation is one of Keras's that are not for probabilities."""
    if activation is None or not activation.__module__.startswith("keras."):
        return False
    return activation.__name__ not in _PROBABILITIES


def _function(loss):
    """The function that Keras's own losses wrap, by its name; others as they are."""
    if isinstance(loss, str) and loss in ("crossentropy", "ce"):
        return loss
    loss = keras.losses.get(loss)
    return getattr(loss, "fn", loss)


def _is_one_of(loss, names):
    return any(loss is getattr(keras.losses, name, None) for name in names)


def _output(model, name):
    return by_output(model.output, model.output_map.names)[name]


def _activation(model, name):
    """The activation of an output, `None` where it cannot be told."""
    place = [tensor is _output(model, name) for tensor in model.outputs].index(True)
    layer = model
    while isinstance(layer, keras.Model):
        if not hasattr(layer, "outputs"):
            return None
        graph = Graph(layer)
        tensor = graph.outputs[place]
        layer = graph.producer(tensor)
        if isinstance(layer, keras.Model):
            call = next(each for each in graph.calls if each.operation is layer)
            place = [output is tensor for output in call.outputs].index(True)
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax
    known = isinstance(layer, keras.layers.Layer)
    return getattr(layer, "activation", None) if known else None
