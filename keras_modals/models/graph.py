"""Questions about a Functional model's graph, and copies of it with a change.

Graphs are read through the model's config and rebuilt with `keras.models.clone_model`,
both public.
"""

import pathlib
import tempfile

import keras


def find_layers(model, layer_class):
    """All layers of a class in a model, those of nested models included."""
    return [layer for layer in _all_layers(model) if isinstance(layer, layer_class)]


def downstream(model, layer):
    """What of a graph depends on the output of a layer.

    Args:
        model: A Functional model.
        layer: One of `model.layers`.

    Returns:
        Pair of a list of booleans, one for each of `model.outputs`, and the names of
        the layers that also have an input which does not depend on `layer`.
    """
    config = plain(model).get_config()
    # A layer has a node for each of its calls.
    inputs = {
        (layer_config["name"], index): set(_sources(node))
        for layer_config in config["layers"]
        for index, node in enumerate(layer_config["inbound_nodes"])
    }
    reached = {node for node in inputs if node[0] == layer.name}
    start = set(reached)
    grown = True
    while grown:
        new = {node for node, sources in inputs.items() if sources & reached}
        grown = not new <= reached
        reached |= new
    merging = {node[0] for node in reached - start if inputs[node] - reached}
    outputs = [
        (name, index) in reached
        for name, index, _ in _tensor_references(config["output_layers"])
    ]
    return outputs, merging


def plain(model):
    """The same graph, on the same layers, as a plain Functional `keras.Model`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def copy_graph(model, call):
    """A plain, uncompiled copy of a model, with its graph rebuilt on the way.

    Args:
        model: A built Functional or Sequential model.
        call: `fn(layer, *args, **kwargs)` that calls a copied layer on its inputs, or
            does something else in its place.
    """
    copy = _copy(plain(model))
    inputs = {
        id(layer.output): layer.from_config(layer.get_config()).output
        for layer in copy.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    changed = keras.models.clone_model(
        copy,
        input_tensors=keras.tree.map_structure(
            lambda tensor: inputs[id(tensor)], copy.input
        ),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    # Its layers are part of two graphs now, and would not know their only output.
    return _copy(changed)


def _copy(model):
    """A copy of a model by way of a file, which brings whatever layers keep: weights,
    statistics that they compute from them, vocabularies. Seeds are copied besides."""
    custom_objects = {type(layer).__name__: type(layer) for layer in _all_layers(model)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        copy = keras.models.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=False
        )
    for target, source in zip(copy.variables, model.variables, strict=True):
        target.assign(source)
    return copy


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _sources(node):
    """The `(layer name, node index)` of whatever a serialized node takes as input."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield tuple(node["config"]["keras_history"][:2])
        else:
            for value in node.values():
                yield from _sources(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _sources(value)


def _tensor_references(structure):
    """The `[layer name, node index, tensor index]` in a structure, flattened as Keras
    does: dicts by their sorted keys."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from _tensor_references(structure[key])
    elif structure and isinstance(structure[0], str):
        yield structure
    else:
        for value in structure:
            yield from _tensor_references(value)
