"""What a model's output and losses say about its task."""

import keras

from keras_modals._src.labels.task import Task
from keras_modals._src.models.graph import Graph
from keras_modals._src.training.outputs import Outputs, by_output, output_names


def task_of(model, name, loss):
    """The `Task` of an output of a Functional model, by its name, and of the model's
    loss, `None` where there is none."""
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
    """The function that Keras's own losses wrap; others as they are."""
    if isinstance(loss, str) and loss in ("crossentropy", "ce"):
        return loss
    loss = keras.losses.get(loss)
    return getattr(loss, "fn", loss)


def _name_in_keras(function):
    """The name of a function of Keras; `None` for others."""
    if function in ("crossentropy", "ce"):
        return "crossentropy"
    if not (getattr(function, "__module__", None) or "").startswith("keras."):
        return None
    return getattr(function, "__name__", None)


def _activation(model, output):
    """The activation of an output, `None` where it cannot be told."""
    place = [tensor is output for tensor in model.outputs].index(True)
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
