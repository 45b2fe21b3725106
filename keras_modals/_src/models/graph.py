"""Questions about a Functional model's graph, and the graph run anew.

Keras lets nobody read a graph, but clones it with a function of ours in place of each
call: on stand-ins, which compute nothing, that tells every call. No layer needs a
config for it.
"""

from collections import namedtuple

import keras

Call = namedtuple("Call", ["operation", "args", "kwargs", "inputs", "outputs"])
Call.__doc__ = """One call of a layer or operation in a `Graph`.

Attributes:
    operation: The model's own layer or operation.
    args, kwargs: What it was called with, the graph's tensors in it.
    inputs, outputs: Lists of the graph's tensors.
"""


class Graph:
    """The calls of a Functional model, each after those that it needs.

    Args:
        model: A built Functional or Sequential model.

    Attributes:
        inputs, outputs: Lists of tensors, as `model.inputs` and `model.outputs`.
        input_names: List of the names of the inputs' layers.
        calls: List of `Call`.
    """

    def __init__(self, model):
        self._model = plain(model)
        self.calls: list[Call] = []
        inputs = self.new_inputs()
        shadow = keras.models.clone_model(
            self._model,
            input_tensors=inputs,
            clone_function=lambda operation: operation,
            call_function=self._record,
        )
        self.inputs, self.outputs = keras.tree.flatten(inputs), shadow.outputs
        names = {
            id(layer.output): layer.name
            for layer in self._model.layers
            if isinstance(layer, keras.layers.InputLayer)
        }
        self.input_names = [names[id(tensor)] for tensor in self._model.inputs]

    def _record(self, operation, *args, **kwargs):
        outputs = _StandIn(operation)(*args, **kwargs)
        inputs = _tensors((args, kwargs))
        self.calls.append(Call(operation, args, kwargs, inputs, _tensors(outputs)))
        return outputs

    def new_inputs(self):
        """New inputs as the model's, in the model's structure."""
        inputs = {
            id(layer.output): layer.from_config(layer.get_config()).output
            for layer in self._model.layers
            if isinstance(layer, keras.layers.InputLayer)
        }
        return keras.tree.map_structure(lambda t: inputs[id(t)], self._model.input)

    def run(self, tensors, values, call):
        """Makes the calls that can be made from some tensors on.

        Args:
            tensors: List of the graph's tensors.
            values: List of what takes their place.
            call: `fn(operation, *args, **kwargs)`, which returns the outputs.

        Returns:
            `fn(tensor)` that returns what takes the place of a tensor of the graph.
        """
        known = {id(t): value for t, value in zip(tensors, values, strict=True)}

        def place(entry):
            return known.get(id(entry), entry)

        for each in self.calls:
            missing = any(id(tensor) not in known for tensor in each.inputs)
            if missing or all(id(tensor) in known for tensor in each.outputs):
                continue
            args, kwargs = keras.tree.map_structure(place, (each.args, each.kwargs))
            outputs = call(each.operation, *args, **kwargs)
            for tensor, value in zip(each.outputs, _tensors(outputs), strict=True):
                known[id(tensor)] = value
        return lambda tensor: known[id(tensor)]

    def reached_from(self, layer):
        """The calls that depend on a layer's output, the layer's own not among them,
        and the ids of their outputs and its own."""
        reached: set[int] = set()
        calls = []
        for each in self.calls:
            is_layer = each.operation is layer
            if is_layer or any(id(tensor) in reached for tensor in each.inputs):
                reached.update(id(tensor) for tensor in each.outputs)
                if not is_layer:
                    calls.append(each)
        return calls, reached

    def producer(self, tensor):
        """The operation that a tensor comes from, `None` for an input."""
        for each in self.calls:
            if any(output is tensor for output in each.outputs):
                return each.operation
        return None

    def consumers(self, operation):
        """How many inputs of calls are outputs of an operation."""
        outputs = {
            id(tensor)
            for each in self.calls
            if each.operation is operation
            for tensor in each.outputs
        }
        return sum(
            id(tensor) in outputs for each in self.calls for tensor in each.inputs
        )

    def tensor_of_model(self, tensor):
        """The tensor of the model itself that a tensor of the graph stands for."""
        for own, other in zip(self.inputs, self._model.inputs, strict=True):
            if own is tensor:
                return other
        operation = self.producer(tensor)
        if isinstance(operation, keras.Model):
            # Its output is that of its own graph; what takes it knows that of the call.
            return self._input_of_taker(tensor)
        places = [each for each in self.calls if each.operation is operation]
        index = [output is tensor for output in places[0].outputs].index(True)
        try:
            return keras.tree.flatten(operation.output)[index]
        except AttributeError:
            raise ValueError(
                f"An output of '{operation.name}', which is called several times, goes "
                "past the `LatentAugmentation`. Such a graph cannot be split: use the "
                "layer once."
            ) from None

    def _input_of_taker(self, tensor):
        """The model's own tensor for one that an operation, no model, takes."""
        call, index = next(
            (call, index)
            for call in self.calls
            for index, own in enumerate(call.inputs)
            if own is tensor and not isinstance(call.operation, keras.Model)
        )
        return keras.tree.flatten(call.operation.input)[index]


class _StandIn(keras.Operation):
    def __init__(self, operation):
        super().__init__()
        self._operation = operation

    def compute_output_spec(self, *args, **kwargs):
        return self._operation.compute_output_spec(*args, **kwargs)


def _tensors(structure):
    flat = keras.tree.flatten(structure)
    return [leaf for leaf in flat if isinstance(leaf, keras.KerasTensor)]


def find_layers(model, layer_class):
    """All layers of a class in a model, those of nested models included."""
    return [layer for layer in _all_layers(model) if isinstance(layer, layer_class)]


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def plain(model):
    """The same graph, on the same layers, as a plain Functional `keras.Model`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def is_chain(model):
    """Whether each layer of a Functional model takes the output of the one before, and
    nothing else, and is called once."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return False
    graph = Graph(model)
    if len({id(each.operation) for each in graph.calls}) < len(graph.calls):
        return False
    tensors = [graph.inputs[0], *(each.outputs[0] for each in graph.calls)]
    return graph.outputs[0] is tensors[-1] and all(
        isinstance(each.operation, keras.layers.Layer)
        and len(each.inputs) == 1
        and each.inputs[0] is before
        for each, before in zip(graph.calls, tensors)
    )


def downstream(model, layer):
    """What of a graph depends on the output of a layer.

    Args:
        model: A Functional model.
        layer: One of `model.layers`.

    Returns:
        Pair of a list of booleans, one for each of `model.outputs`, and the names of
        the layers that also have an input which does not depend on `layer`.
    """
    graph = Graph(model)
    calls, reached = graph.reached_from(layer)
    merging = [
        each.operation.name
        for each in calls
        if any(id(tensor) not in reached for tensor in each.inputs)
    ]
    return [id(tensor) in reached for tensor in graph.outputs], sorted(set(merging))
