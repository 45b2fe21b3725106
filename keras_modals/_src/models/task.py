"""Inference of the `Task` from a model's output and loss."""

import keras

from keras_modals._src.labels.task import Task
from keras_modals._src.models.graph import Graph
from keras_modals._src.training.losses import CHOSEN_BY_KERAS, loss_named
from keras_modals._src.training.outputs import Outputs, by_output, output_names


def task_of(model, name, loss):
    """The `Task` of an output of a Functional model.

    Args:
        model: The model.
        name: Name of the output.
        loss: The model's loss; `None` if there is none."""
    names = output_names(model)
    outputs = Outputs(names, name, [])
    outputs.compile(loss)
    output = by_output(model.output, names)[name]
    functions = [_function(loss) for loss in outputs.losses[name]]
    return Task(
        name,
        tuple(output.shape),
        [each for each in map(_name_in_keras, functions) if each],
        _name_in_keras(_activation(model, output)),
    )


def _function(loss):
    """The function wrapped by a Keras loss; other losses are returned as they are."""
    loss = loss_named(loss)
    return getattr(loss, "fn", loss)


def _name_in_keras(function):
    """The name of a Keras function; `None` for others."""
    if function in CHOSEN_BY_KERAS:
        return "crossentropy"
    if not (getattr(function, "__module__", None) or "").startswith("keras."):
        return None
    return getattr(function, "__name__", None)


#: Layers that keep values unchanged, and layers that turn them into other numbers.
_SAME_VALUES = (
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)
_OTHER_VALUES = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Rescaling,
)


def _activation(model, output):
    """The activation of an output; `None` if unknown."""
    place = [tensor is output for tensor in model.outputs].index(True)
    graph = Graph(model)
    return _activation_of(graph, graph.outputs[place])


def _activation_of(graph, tensor):
    """The activation that produces a tensor of a graph; `None` if unknown."""
    calls = [c for c in graph.calls if any(each is tensor for each in c.outputs)]
    if not calls:
        return None
    call, layer = calls[0], calls[0].operation
    if isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    elif isinstance(layer, keras.layers.Bidirectional):
        layer = layer.forward_layer
    if isinstance(layer, keras.Model):
        if not hasattr(layer, "outputs"):
            return None
        place = [output is tensor for output in call.outputs].index(True)
        nested = Graph(layer)
        return _activation_of(nested, nested.outputs[place])
    if isinstance(layer, _SAME_VALUES):
        return _activation_of(graph, call.inputs[0])
    if isinstance(layer, _OTHER_VALUES):
        return keras.activations.linear
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax
    known = isinstance(layer, keras.layers.Layer)
    return getattr(layer, "activation", None) if known else None
