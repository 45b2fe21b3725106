"""Search for places in a model where whole batches can be mixed."""

from collections import namedtuple

import keras

from keras_modals._src.models.graph import attributes

Found = namedtuple("Found", ["tensors", "why"])
Found.__doc__ = """A place for augmentation.

Attributes:
    tensors: List of the graph's tensors, one for each branch. Together they carry all
        of a sample.
    why: A short reason for the place.
"""

#: Layers that only reshape a latent, drop parts of it, or add noise: not a new place.
_FORMS = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Identity,
)

#: Maximum number of places between the first and the head's input.
INNER = 3


def find_places(graph, calls, head):
    """Finds the places of a model: its input if that is a signal, some inside, and the
    head's input.

    All paths from inputs to the output pass through a place, except masks. The first
    place is after preprocessing and image augmentation, after the embeddings of token
    and category numbers, and after frozen layers. If several inputs meet only after
    layers with weights, it has one tensor in each branch.

    Args:
        graph: The `Graph` of a model without `LatentAugmentation`.
        calls: The calls that the label output depends on.
        head: The last of them with weights.

    Returns:
        List of `Found`, from the inputs on. The last one is the head's input.
    """
    reached = _outputs_reached(graph, calls)
    last = _head_place(graph, calls, head)
    if last is None:
        return []
    depth = _depths(graph, calls)
    first = _first(graph, calls, head)
    common = [t for t in dominators(graph, calls, head) if t is not last]
    before = _before(calls, first)
    common = [
        t
        for t in common
        if id(t) not in before
        and not any(t is each for each in first)
        and _is_latent(t)
        and not isinstance(_producer(calls, t), _FORMS)
        and depth[id(t)] < depth[id(last)]
        and reached[id(t)] == reached[id(last)]
    ]
    found = []
    starts = first and all(reached[id(t)] == reached[id(last)] for t in first)
    if starts and not any(t is last for t in first):
        found.append(Found(first, _why(graph, first, calls)))
    start = min((depth[id(t)] for t in first), default=0) if starts else 0
    for tensor in _spaced(common, depth, start, depth[id(last)]):
        found.append(Found([tensor], "all paths pass through it"))
    return [*found, Found([last], "the head's input")]


def _why(graph, tensors, calls):
    if all(_is_input(graph, tensor) for tensor in tensors):
        return "the input"
    past = _before(calls, tensors)
    layers = [call.operation for call in calls if _ids(call.outputs) & past]
    layers += [_producer(calls, tensor) for tensor in tensors]
    if any(_is_frozen(layer) and not _is_preprocessing(layer) for layer in layers):
        return "after frozen layers"
    if any(_has_embedding(layer) for layer in layers):
        return "after the embedding"
    return "the input, after preprocessing"


def _spaced(tensors, depth, start, end):
    """Selects the tensors nearest to a quarter, half, and three quarters of the way."""
    chosen: list = []
    for quarter in range(1, INNER + 1):
        wanted = start + (end - start) * quarter / (INNER + 1)
        left = [t for t in tensors if not any(t is each for each in chosen)]
        if left:
            chosen.append(min(left, key=lambda t: abs(depth[id(t)] - wanted)))
    return sorted(chosen, key=lambda t: depth[id(t)])


# The graph ----------------------------------------------------------------------


def leading_to(graph, output):
    """The calls that an output depends on, in order, except through masks."""
    needed, calls = {id(output)}, []
    for call in reversed(graph.calls):
        if any(id(tensor) in needed for tensor in call.outputs):
            calls.append(call)
            needed.update(id(tensor) for tensor in signals(call))
    return calls[::-1]


def signals(call):
    """The inputs of a call that are not masks."""
    masks = {
        id(tensor)
        for name, value in call.kwargs.items()
        if "mask" in name
        for tensor in keras.tree.flatten(value)
    }
    return [tensor for tensor in call.inputs if id(tensor) not in masks]


def _is_input(graph, tensor):
    return any(tensor is each for each in graph.inputs)


def _producer(calls, tensor):
    for call in calls:
        if any(each is tensor for each in call.outputs):
            return call.operation
    return None


def _depths(graph, calls):
    """For each tensor's id, the length of the longest path from an input, in calls."""
    depth = {id(tensor): 0 for tensor in graph.inputs}
    for call in calls:
        most = max((depth.get(id(t), 0) for t in call.inputs), default=0)
        depth.update((id(tensor), most + 1) for tensor in call.outputs)
    return depth


def dominators(graph, calls, head):
    """The tensors on all paths from inputs to the head's call, in order."""
    # Maps each tensor to the nearest one before it that is on all paths to it.
    above: dict[int, int | None] = {}
    place: dict[int, int] = {}
    tensors: dict[int, keras.KerasTensor] = {}

    def meet(one, other):
        while one != other:
            if one is None or other is None:
                return None
            if place[one] < place[other]:
                one, other = other, one
            one = above[one]
        return one

    def add(tensor, before):
        tensors[id(tensor)] = tensor
        place[id(tensor)] = len(place)
        above[id(tensor)] = before

    for tensor in graph.inputs:
        add(tensor, None)
    for call in calls:
        before = None
        known = [id(tensor) for tensor in signals(call) if id(tensor) in place]
        for index, key in enumerate(known):
            before = key if index == 0 else meet(before, key)
        if call is head:
            break
        if len(call.outputs) != 1:
            # Represent several outputs by a joint placeholder.
            joint = keras.KerasTensor(())
            add(joint, before)
            before = id(joint)
        for tensor in call.outputs:
            add(tensor, before)
    chain = []
    while before is not None:
        if tensors[before].shape:
            chain.append(tensors[before])
        before = above[before]
    if len(graph.inputs) > 1:
        # With several inputs, none is on all paths.
        chain = [t for t in chain if not _is_input(graph, t)]
    return chain[::-1]


def _outputs_reached(graph, calls):
    """For each tensor's id, the set of outputs that depend on it."""
    own = {id(call) for call in calls}
    reached: dict[int, frozenset] = {}
    for index, output in enumerate(graph.outputs):
        reached[id(output)] = reached.get(id(output), frozenset()) | {index}
    through: dict[int, frozenset] = {}
    for call in reversed(graph.calls):
        found = frozenset().union(*(reached.get(id(t), ()) for t in call.outputs))
        for tensor in call.inputs:
            reached[id(tensor)] = reached.get(id(tensor), frozenset()) | found
            if id(call) in own:
                before = through.get(id(tensor), frozenset())
                through[id(tensor)] = before | found
    return {**reached, **through}


# The ends -----------------------------------------------------------------------


def _head_place(graph, calls, head):
    """The head's input, before layers that drop parts of it or reshape it.

    If the head takes several tensors, the last tensor on all paths to it."""
    chain = dominators(graph, calls, head)
    latents = [tensor for tensor in chain if _is_latent(tensor)]
    while len(latents) > 1 and isinstance(_producer(calls, latents[-1]), _FORMS):
        latents.pop()
    return latents[-1] if latents else None


def _first(graph, calls, head):
    """The first tensors at which samples are signals, one for each branch."""
    past: set[int] = set()
    consumers: dict[int, list] = {}
    for call in calls:
        for tensor in signals(call):
            consumers.setdefault(id(tensor), []).append(call)

    def frontier():
        """The tensors made by calls that are past and used by others."""
        made = {id(t) for c in calls if id(c) in past for t in c.outputs}
        made |= {id(t) for t in graph.inputs}
        needed, tensors = set(), []
        for call in calls:
            if id(call) in past:
                continue
            for tensor in signals(call):
                if id(tensor) in made and id(tensor) not in needed:
                    needed.add(id(tensor))
                    tensors.append(tensor)
        return tensors

    def go_past(call):
        """Marks a call, and all calls that it depends on, as past."""
        made_by = {id(t): c for c in calls for t in c.outputs}
        waiting = [call]
        while waiting:
            each = waiting.pop()
            if id(each) not in past:
                past.add(id(each))
                waiting += [made_by[id(t)] for t in each.inputs if id(t) in made_by]

    def is_past_it(tensor):
        return [
            call
            for call in consumers.get(id(tensor), [])
            if id(call) not in past
            and (_prepares(call, tensor) or not _is_latent(tensor))
        ]

    while True:
        tensors = frontier()
        following = [call for tensor in tensors for call in is_past_it(tensor)]
        if not following and len(tensors) > 1:
            # Branches that meet without weights can be mixed after they meet.
            following = [
                call
                for tensor in tensors
                for call in consumers[id(tensor)]
                if id(call) not in past and not _weights(call.operation)
            ]
        if any(call is head for call in following):
            return []
        if not following:
            break
        for call in following:
            go_past(call)
    frozen = [
        call
        for call in calls
        if id(call) not in past
        and _is_frozen(call.operation)
        and _comes_first(call, calls)
    ]
    if not frozen:
        return tensors
    for call in frozen:
        go_past(call)
    for call in calls:
        # Layers without weights have nothing to learn either.
        is_form = _weights(call.operation) or isinstance(call.operation, _FORMS)
        if not is_form and _comes_first(call, calls):
            go_past(call)
    if id(head) in past:
        return []
    tensors = frontier()
    return tensors if all(_is_latent(tensor) for tensor in tensors) else []


def _comes_first(call, calls):
    """Whether no trainable layer comes before a call."""
    needed = {id(tensor) for tensor in call.inputs}
    for each in reversed(calls[: calls.index(call)]):
        if any(id(tensor) in needed for tensor in each.outputs):
            if any(weight.trainable for weight in _weights(each.operation)):
                return False
            needed.update(id(tensor) for tensor in each.inputs)
    return True


def _ids(tensors):
    return {id(tensor) for tensor in tensors}


def _before(calls, first):
    """The ids of the tensors that some other tensors depend on."""
    needed = {id(tensor) for tensor in first}
    before: set[int] = set()
    for call in reversed(calls):
        if any(id(tensor) in needed for tensor in call.outputs):
            before.update(id(tensor) for tensor in call.inputs)
            needed.update(id(tensor) for tensor in call.inputs)
    return before


# Single tensors and layers --------------------------------------------------------


def _is_latent(tensor):
    """Whether a tensor has floats, with one sample per row. Sparse ones cannot be
    mixed."""
    return "float" in tensor.dtype and len(tensor.shape) > 1 and not tensor.sparse


def _prepares(call, tensor):
    """Whether a call turns a tensor that is not a signal into one."""
    layer = call.operation
    # A custom layer that embeds positions takes more than one number per position.
    is_numbers = isinstance(layer, keras.layers.Embedding) or len(tensor.shape) < 3
    return _is_preprocessing(layer) or (is_numbers and _has_embedding(layer))


def _is_input_layer(layer):
    return isinstance(layer, keras.layers.InputLayer)


def _is_preprocessing(layer):
    """Whether a layer preprocesses or augments inputs, judging by its Keras module."""
    if isinstance(layer, keras.Model) and getattr(layer, "layers", None):
        inner = [each for each in layer.layers if not _is_input_layer(each)]
        return all(_is_preprocessing(each) for each in inner)
    place = type(layer).__module__.split(".")
    return place[0] == "keras" and "preprocessing" in place


def _has_embedding(layer):
    if isinstance(layer, keras.layers.Embedding):
        return True
    if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model):
        return False
    return any(_has_embedding(each) for each in attributes(layer))


def _weights(operation):
    return getattr(operation, "weights", [])


def _is_frozen(operation):
    weights = _weights(operation)
    return bool(weights) and not any(weight.trainable for weight in weights)
