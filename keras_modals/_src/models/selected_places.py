"""The places in a model that the argument `layer` of `augment` selects."""

import numbers

import keras

from keras_modals._src.models.places import Found, find_places

#: Values of `layer` that do not name a layer.
WORDS = ("auto", "input", "head")


def select_places(model, graph, calls, layer):
    """The `Found` places selected by `layer`, and the calls that use the new layers."""
    if isinstance(layer, str) and layer in WORDS:
        head = find_head(graph, calls)
        if layer == "head":
            found = [Found([_input_of(graph, head)], "the head's input")]
        else:
            found = find_places(graph, calls, head)
        if not found:
            _input_of(graph, head)
        return found[:1] if layer == "input" else found, calls
    several = isinstance(layer, (list, tuple))
    found = [
        Found([_output_of(model, graph, each)], "as requested")
        for each in (layer if several else [layer])
    ]
    if not found or len({id(each.tensors[0]) for each in found}) < len(found):
        raise ValueError(
            "Expected one or more different places in `layer`. "
            f"Received: layer={layer!r}"
        )
    used = {id(tensor) for call in graph.calls for tensor in call.inputs}
    if not all(id(each.tensors[0]) in used for each in found):
        raise ValueError(
            "No layer follows `layer`, so the model would not use what is mixed there. "
            "Pass a layer before the last one with weights, or leave `layer` out. "
            f"Received: layer={layer!r}"
        )
    return found, graph.calls


def find_head(graph, calls):
    """Finds the last call of a layer with weights."""
    weighted = [call for call in calls if getattr(call.operation, "weights", None)]
    if not weighted:
        raise ValueError(
            "The model has no layer with weights. Pass `layer`, one of "
            f"{_layer_names(graph)}"
        )
    head = weighted[-1].operation
    if isinstance(head, keras.layers.Embedding):
        raise ValueError(
            f"The last layer with weights, '{head.name}', is an embedding, so there "
            f"are no latents before it. Pass `layer`, one of {_layer_names(graph)}"
        )
    if isinstance(head, keras.Model):
        raise ValueError(
            f"The last layer with weights, '{head.name}', is a model, and the latents "
            "are inside it. Augment that model and build the outer one on the result, "
            f"or pass `layer`, one of {_layer_names(graph)}, if one has latents."
        )
    if len([call for call in calls if call.operation is head]) > 1:
        raise ValueError(_used_several_times(head.name))
    return weighted[-1]


def _used_several_times(name):
    return (
        f"The layer '{name}' is used several times in the model. Pass a `layer` that "
        f"is used once. Received: layer={name!r}"
    )


def _input_of(graph, head):
    """The input tensor of the head."""
    name = head.operation.name
    if len(head.inputs) != 1 or not head.args or head.args[0] is not head.inputs[0]:
        raise ValueError(
            f"The last layer with weights, '{name}', takes several tensors, so there "
            "is no single latent before it. Pass `layer`, one of "
            f"{_layer_names(graph)}, whose output is a single tensor per sample. If "
            "only the head has one, split it into an encoder and a head."
        )
    return _latents(head.args[0], name)


def _output_of(model, graph, layer):
    """The output tensor of a layer, given the layer, its index, or its name."""
    name = _layer_name(model, graph, layer)
    outputs = [
        tensor
        for call in graph.calls
        if call.operation.name == name
        for tensor in call.outputs
    ]
    inputs = dict(zip(graph.input_names, graph.inputs, strict=True))
    if name in inputs:
        outputs = [inputs[name]]
    elif len([call for call in graph.calls if call.operation.name == name]) > 1:
        raise ValueError(_used_several_times(name))
    return _latents(outputs[0] if len(outputs) == 1 else outputs, name)


def _layer_names(graph):
    return list(dict.fromkeys(call.operation.name for call in graph.calls))


def _layer_name(model, graph, layer):
    """The name of a layer of a model, given the layer, its index, or its name."""
    name = layer
    if isinstance(layer, keras.layers.Layer):
        name = layer.name if any(each is layer for each in model.layers) else None
    elif isinstance(layer, numbers.Integral) and not isinstance(layer, bool):
        index, count = int(layer), len(model.layers)
        name = model.layers[index].name if -count <= index < count else None
    known = [*graph.input_names, *_layer_names(graph)]
    if name not in known:
        raise ValueError(
            "Unknown layer. Expected a name, an index in `model.layers` or a layer, "
            f"among {known}. Received: layer={layer!r}"
        )
    return name


def _latents(tensor, name):
    is_one = isinstance(tensor, keras.KerasTensor)
    if not is_one or "float" not in tensor.dtype or tensor.sparse:
        raise ValueError(
            f"The output of the layer '{name}' cannot be augmented: "
            "`LatentAugmentation` takes one dense tensor of floats. Pass another "
            "`layer`; for integers such as token ids, a layer after their embedding. "
            f"Received: {tensor}"
        )
    return tensor
