"""Questions about a Functional model's graph, and copies of it with a change.

Graphs are read through the model's config and rebuilt with `keras.models.clone_model`,
both public.
"""

import itertools
import pathlib
import tempfile

import keras
import numpy as np


def find_layers(model, layer_class):
    """All layers of a class in a model, those of nested models included."""
    return [layer for layer in _all_layers(model) if isinstance(layer, layer_class)]


def downstream(model, layer):
    """What of a graph depends on the output of a layer.

    Args:
        model: A Functional model.
        layer: One of `model.layers`.

    Returns:
        Pair of a list of booleans, one for each of `model.outputs`, and a dict from the
        names of the layers that also have an input which does not depend on `layer` to
        these inputs, `(layer name, node index, tensor index)`.
    """
    config = plain(model).get_config()
    inputs = _inputs_of_nodes(config)
    start = {node for node in inputs if node[0] == layer.name}
    reached = _reached(inputs, start)
    merging: dict[str, list] = {}
    for node in sorted(reached - start):
        others = sorted(s for s in inputs[node] if s[:2] not in reached)
        if others:
            merging.setdefault(node[0], []).extend(others)
    outputs = [
        (name, index) in reached
        for name, index, _ in tensor_references(config["output_layers"])
    ]
    return outputs, merging


def _inputs_of_nodes(config):
    """What each `(layer name, node index)` takes; a layer has a node for each call."""
    return {
        (layer_config["name"], index): set(_sources(node))
        for layer_config in config["layers"]
        for index, node in enumerate(layer_config["inbound_nodes"])
    }


def _reached(inputs, start):
    """The nodes that depend on some nodes, these included."""
    reached = set(start)
    grown = True
    while grown:
        new = {node for node in inputs if any(s[:2] in reached for s in inputs[node])}
        grown = not new <= reached
        reached |= new
    return reached


def is_chain(model):
    """Whether each layer of a Functional model takes the output of the one before, and
    nothing else."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return False
    layers = model.get_config()["layers"]
    if [layer["name"] for layer in layers] != [layer.name for layer in model.layers]:
        # Operations of `keras.ops` are no layers.
        return False
    return all(
        [set(_sources(node)) for node in layer["inbound_nodes"]]
        == [{(before["name"], 0, 0)}]
        for before, layer in itertools.pairwise(layers)
    )


def plain(model):
    """The same graph, on the same layers, as a plain Functional `keras.Model`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def split(model, layer):
    """What leads to a layer of a Functional model, and what follows it.

    Args:
        model: A Functional model.
        layer: One of `model.layers`, called once.

    Returns:
        Pair of the tensors of `model` that what follows needs, the layer's input first,
        and a Functional model, on copies of its layers, from the layer's output and the
        others of these to those of `model.outputs` that depend on the layer.
    """
    if not isinstance(layer.input, keras.KerasTensor):
        raise ValueError(
            f"The layer '{layer.name}' has several inputs. Call it with latents only."
        )
    _check_no_layer_on_both_sides(model, layer)
    copy = copy_model(plain(model))
    depends, merging = downstream(model, layer)
    others = list(dict.fromkeys(itertools.chain(*merging.values())))
    tensors = [layer.input, *(_tensor(model, *other) for other in others)]
    inputs = [copy.get_layer(layer.name).output]
    inputs += [_tensor(copy, *other) for other in others]
    outputs = list(itertools.compress(copy.outputs, depends))
    after = keras.Model(
        inputs if len(inputs) > 1 else inputs[0],
        outputs if len(outputs) > 1 else outputs[0],
    )
    # A second copy does not hold on to what leads to the layer.
    return tensors, copy_model(after)


def _check_no_layer_on_both_sides(model, layer):
    inputs = _inputs_of_nodes(plain(model).get_config())
    reached = _reached(inputs, {node for node in inputs if node[0] == layer.name})
    names = {name for name, _ in reached} & {name for name, _ in set(inputs) - reached}
    if names:
        raise ValueError(
            f"Layers are used both before and after '{layer.name}': {sorted(names)}. "
            "Such a graph cannot be split there."
        )


def _tensor(model, name, node, index):
    layers = {layer.name: layer for layer in model.layers}
    if node > 0 or name not in layers:
        raise ValueError(
            f"An output of '{name}', which is called several times or is an operation "
            "and no layer, goes past the `LatentAugmentation`. Such a graph cannot be "
            "split: give the operation a layer of its own, `keras.layers.Lambda` for "
            "one."
        )
    return keras.tree.flatten(layers[name].output)[index]


def copy_graph(model, call):
    """A plain, uncompiled copy of a model, with its graph rebuilt on the way.

    Args:
        model: A built Functional or Sequential model.
        call: `fn(layer, *args, **kwargs)` that calls a copied layer on its inputs, or
            does something else in its place.
    """
    copy = copy_model(plain(model))
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
    return copy_model(changed)


def copy_model(model):
    """A copy of a model by way of a file, which brings whatever layers keep: weights,
    statistics that they compute from them, vocabularies. Seeds are copied besides."""
    custom_objects = {type(layer).__name__: type(layer) for layer in _all_layers(model)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        copy = keras.models.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=False
        )
    copy_values(plain(copy).variables, plain(model).variables)
    return copy


def copy_values(targets, variables):
    """Assigns copies of variables' values. JAX deletes those that a step was given:
    two variables must not share one."""
    for target, variable in zip(targets, variables, strict=True):
        target.assign(np.array(keras.ops.convert_to_numpy(variable)))


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _sources(node):
    """The `(layer name, node index, tensor index)` of what a serialized node takes."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield tuple(node["config"]["keras_history"])
        else:
            for value in node.values():
                yield from _sources(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _sources(value)


def sources(config):
    """Names of the layers whose output a layer of a model takes, once for each time."""
    return [
        source[0]
        for layer in config["layers"]
        for node in layer["inbound_nodes"]
        for source in _sources(node)
    ]


def tensor_references(structure):
    """The `[layer name, node index, tensor index]` in a structure, flattened as Keras
    does: dicts by their sorted keys."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from tensor_references(structure[key])
    elif structure and isinstance(structure[0], str):
        yield structure
    else:
        for value in structure:
            yield from tensor_references(value)
