"""Questions about a Functional model's graph, and copies of it with a change.

Graphs are read through the model's config and rebuilt with `keras.models.clone_model`,
both public.
"""

import keras


def find_layers(model, layer_class):
    """All layers of a class in a model, those of nested models included."""
    found = []
    for layer in model.layers:
        if isinstance(layer, layer_class):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found.extend(find_layers(layer, layer_class))
    return found


def downstream(model, layer):
    """The names of the layers whose input depends on `layer`, and those that merge.

    Args:
        model: A Functional model.
        layer: One of `model.layers`.

    Returns:
        Pair of sets of layer names: all that lie downstream of `layer`, and those of
        them that have another input which does not.
    """
    inputs = {
        config["name"]: [set(_sources(node)) for node in config["inbound_nodes"]]
        for config in plain(model).get_config()["layers"]
    }
    reached = {layer.name}
    grown = True
    while grown:
        new = {
            name
            for name, nodes in inputs.items()
            if any(node & reached for node in nodes)
        }
        grown = not new <= reached
        reached |= new
    merging = {
        name
        for name in reached - {layer.name}
        if any(node & reached and node - reached for node in inputs[name])
    }
    return reached, merging


def plain(model):
    """The same graph, on the same layers, as a plain Functional `keras.Model`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def copy_graph(model, call):
    """A plain, uncompiled model with new layers that have the same weights.

    Args:
        model: A built Functional or Sequential model.
        call: `fn(layer, *args, **kwargs)` that calls a copied layer on its inputs, or
            does something else in its place.
    """
    model = plain(model)
    copied_inputs = {
        id(layer.output): layer.from_config(layer.get_config()).output
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    inputs = keras.tree.map_structure(
        lambda tensor: copied_inputs[id(tensor)], model.input
    )
    copy = keras.models.clone_model(model, input_tensors=inputs, call_function=call)
    originals = {layer.name: layer for layer in model.layers}
    for layer in copy.layers:
        if layer.name in originals:
            sources = originals[layer.name].variables
            for target, source in zip(layer.variables, sources, strict=True):
                target.assign(source)
    return copy


def _sources(node):
    """Names of the layers whose outputs a serialized node takes."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield node["config"]["keras_history"][0]
        else:
            for value in node.values():
                yield from _sources(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _sources(value)
