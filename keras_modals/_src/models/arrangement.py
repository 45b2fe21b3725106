"""Order and levels of the `LatentAugmentation` layers of a model."""

import dataclasses
from collections import namedtuple

import keras

from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.mixed_mask import MixedMask
from keras_modals._src.layers.step_scope import Place
from keras_modals._src.models.graph import Graph, find_layers


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """The augmenting layers of a model.

    Not a container: Keras would save the layers in it a second time.

    Attributes:
        layers: List of the `LatentAugmentation`s, in topological order.
        places: Dict from their names to their `Place`.
        leaders: List of the first layer of each level.
        reached: List of booleans, one for each of `model.outputs`: whether its rows are
            augmented.
        with_head: Set of the names of layers that layers with weights follow.
    """

    layers: list
    places: dict
    leaders: list
    reached: list
    with_head: set


Node = namedtuple("Node", ["operation", "inputs", "masks", "outputs"])


def arrange(model, num_views=1):
    """Computes the `Arrangement` of a Functional model's layers.

    The level of a layer that mixes follows those of the mixing layers before it. In a
    branch with fewer such layers, a layer also mixes at later levels, so that all of a
    sample is mixed at every level.

    Raises:
        ValueError: If a layer is used several times, or a part of a sample bypasses the
            layers of a level, or the layers that create several views.
    """
    nodes, inputs, outputs, _graphs = _expanded(model)
    layers = _layers(nodes)
    _check_used_once(model, layers)
    level: dict[int, int] = {}
    seen: set[int] = set()
    firsts, starts = {}, {}
    for node in nodes:
        before = max((level.get(each, 0) for each in node.inputs), default=0)
        is_reached = any(each in seen for each in node.inputs)
        is_reached = is_reached or isinstance(node.operation, MixedMask)
        for layer in _augmenting(node):
            starts[layer.name] = before
            firsts[layer.name] = not is_reached
            before += layer.mixes_classes
            is_reached = True
        for each in node.outputs:
            level[each] = before
            if is_reached:
                seen.add(each)
    count = max((level.get(each, 0) for each in outputs), default=0)
    ends = _ends(nodes, outputs, starts, count)
    last = layers[-1] if layers else None
    places = {
        layer.name: Place(
            starts[layer.name],
            ends[layer.name] if layer.mixes_classes else starts[layer.name],
            firsts[layer.name],
            layer is last,
            layer.members,
        )
        for layer in layers
    }
    leaders = []
    for index in range(count):
        at_level = [each for each in layers if _mixes_at(places, each, index)]
        leaders.append(at_level[0])
        mixed = {each for each, number in level.items() if number}
        _check_all_mixed(nodes, inputs, outputs, mixed, at_level)
    if num_views > 1:
        _check_views(nodes, seen, layers, places)
    reached = [each in seen for each in outputs]
    return Arrangement(layers, places, leaders, reached, _with_head(nodes))


def _ends(nodes, outputs, starts, count):
    """For each layer's name, the first level at which a later layer mixes."""
    until = dict.fromkeys(outputs, count)
    ends = {}
    for node in reversed(nodes):
        after = min((until.get(each, count) for each in node.outputs), default=count)
        for layer in reversed(_augmenting(node)):
            ends[layer.name] = after
            if layer.mixes_classes:
                after = starts[layer.name]
        for each in node.inputs:
            until[each] = min(until.get(each, count), after)
    return ends


def _with_head(nodes):
    """Names of the layers that layers with weights follow."""
    names: set[str] = set()
    leads: set[int] = set()
    for node in reversed(nodes):
        is_own = isinstance(node.operation, LatentAugmentation)
        leads_on = any(each in leads for each in node.outputs)
        leads_on |= bool(not is_own and getattr(node.operation, "weights", None))
        if leads_on:
            names.update(layer.name for layer in _augmenting(node))
            leads.update(node.inputs)
    return names


def _mixes_at(places, layer, level):
    place = places[layer.name]
    return place.level <= level < place.until


def _check_used_once(model, layers):
    names = [layer.name for layer in layers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "Each `LatentAugmentation` must be used once and have a unique name. Use a "
            f"separate layer for each place. Received: {twice} several times"
        )
    found = [layer.name for layer in find_layers(model, LatentAugmentation)]
    lost = [name for name in found if name not in names]
    if lost:
        raise ValueError(
            "Each `LatentAugmentation` must be on a path to an output. "
            f"Received: {lost}, which are not"
        )


def _check_all_mixed(nodes, inputs, outputs, mixed, at_level):
    """Raises if a part of a sample bypasses the layers that mix at a level, on its way
    to an output that depends on them."""
    names = [layer.name for layer in at_level]
    past, meets = set(inputs), None
    for node in nodes:
        if any(layer.name in names for layer in _augmenting(node)):
            continue
        if any(each in past for each in node.inputs):
            past.update(node.outputs)
            met = any(each in mixed and each not in past for each in node.inputs)
            if met and meets is None:
                meets = node.operation.name
    if any(each in past and each in mixed for each in outputs):
        raise ValueError(
            f"A part of each sample bypasses the layers {names} and would not be mixed "
            f"although its label is; it meets them in '{meets}'. Put a "
            "`LatentAugmentation` where all of a sample passes through it, or one in "
            "each branch, or use a policy without `class_mixing`."
        )


def _check_views(nodes, seen, layers, places):
    first = [layer for layer in layers if places[layer.name].is_first]
    merging = sorted(
        {
            node.operation.name
            for node in nodes
            if any(each in seen for each in node.outputs)
            and not isinstance(node.operation, MixedMask)
            and not any(layer in first for layer in _augmenting(node))
            and any(each not in seen for each in (*node.inputs, *node.masks))
        }
    )
    names = [layer.name for layer in first]
    if merging:
        raise ValueError(
            f"With several views, every input of a layer after '{', '.join(names)}' "
            "must pass through it, since it adds rows. Another branch of the graph, or "
            f"a mask, meets it in: {merging}. Use `num_views=1`, or insert the layer "
            "after they meet."
        )


def summary_lines(arrangement, found):
    """Lines that describe where a model augments and why.

    Args:
        arrangement: The model's `Arrangement`.
        found: Pairs of a place and the reason for it, or nothing.
    """
    count = len(arrangement.leaders)
    head = "mixes nothing"
    if count:
        head = "mixes at its place"
    if count > 1:
        head = f"mixes at one of {count} places, drawn for each step"
    lines = found or [
        (layer.name, f"level {arrangement.places[layer.name].level}")
        for layer in arrangement.layers
    ]
    return [head, *(f"  {place}: {why}" for place, why in lines)]


# The graph ----------------------------------------------------------------------


def _expanded(model):
    """All calls of a model, expanding nested models that augment.

    Returns the calls, the keys of the model's inputs and outputs, and the graphs. Keys
    are ids of the graphs' tensors."""
    graph = Graph(model)
    names: dict[int, int] = {}
    kept = [graph]
    nodes = list(_nodes(graph, names, kept))
    inputs, outputs = (
        [names.get(id(tensor), id(tensor)) for tensor in tensors]
        for tensors in (graph.inputs, graph.outputs)
    )
    return nodes, inputs, outputs, kept


def _nodes(graph, names, kept):
    def key(tensor):
        return names.get(id(tensor), id(tensor))

    for call in graph.calls:
        inner = call.operation
        if _is_graph(inner) and find_layers(inner, LatentAugmentation):
            nested = Graph(inner)
            kept.append(nested)
            for own, given in zip(nested.inputs, call.inputs):
                names[id(own)] = key(given)
            yield from _nodes(nested, names, kept)
            for given, own in zip(call.outputs, nested.outputs, strict=True):
                names[id(given)] = key(own)
            continue
        masks = [
            key(tensor)
            for name, value in call.kwargs.items()
            if "mask" in name
            for tensor in keras.tree.flatten(value)
            if isinstance(tensor, keras.KerasTensor)
        ]
        inputs = [key(tensor) for tensor in call.inputs]
        inputs = [each for each in inputs if each not in masks]
        if isinstance(inner, MixedMask):
            inputs, masks = [], inputs
        yield Node(inner, inputs, masks, [key(tensor) for tensor in call.outputs])


def _is_graph(operation):
    return isinstance(operation, keras.Model) and hasattr(operation, "operations")


def _augmenting(node):
    if isinstance(node.operation, LatentAugmentation):
        return [node.operation]
    if isinstance(node.operation, keras.Model):
        return find_layers(node.operation, LatentAugmentation)
    return []


def _layers(nodes):
    return [layer for node in nodes for layer in _augmenting(node)]
