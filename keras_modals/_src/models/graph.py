"""Inspection and execution of a Functional model's graph.

Keras has no public access to a graph, but can clone it with a custom function in
place of each call. With stand-ins that compute nothing, this reveals every call. No
layer needs a config for it.
"""

from collections import namedtuple

import keras

Call = namedtuple("Call", ["operation", "args", "kwargs", "inputs", "outputs"])
Call.__doc__ = """One call of a layer or operation in a `Graph`.

Attributes:
    operation: The model's own layer or operation.
    args, kwargs: The arguments of the call, with tensors of the graph.
    inputs, outputs: Lists of the graph's tensors.
"""


class Graph:
    """The calls of a Functional model in topological order.

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
        """Creates new inputs with the shapes and structure of the model's inputs."""
        inputs = {
            id(layer.output): layer.from_config(layer.get_config()).output
            for layer in self._model.layers
            if isinstance(layer, keras.layers.InputLayer)
        }
        return keras.tree.map_structure(lambda t: inputs[id(t)], self._model.input)

    def run(self, tensors, values, call):
        """Makes all calls that can be computed from some tensors.

        Args:
            tensors: List of the graph's tensors.
            values: List of values to use in their place.
            call: `fn(operation, *args, **kwargs)`, which returns the outputs.

        Returns:
            `fn(tensor)` that returns the value of a tensor of the graph.
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
        """The calls that depend on a layer's output, without the layer's own call.

        Returns:
            Pair of the calls and the ids of their outputs and the layer's own."""
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
        """The operation that produces a tensor; `None` for an input."""
        for each in self.calls:
            if any(output is tensor for output in each.outputs):
                return each.operation
        return None

    def consumers(self, operation):
        """The number of inputs of calls that are outputs of an operation."""
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
        """The tensor of the model itself that corresponds to a tensor of the graph."""
        for own, other in zip(self.inputs, self._model.inputs, strict=True):
            if own is tensor:
                return other
        operation = self.producer(tensor)
        if isinstance(operation, keras.Model):
            # Its output belongs to its own graph. The consumer has that of the call.
            return self._input_of_taker(tensor)
        places = [each for each in self.calls if each.operation is operation]
        index = [output is tensor for output in places[0].outputs].index(True)
        try:
            return keras.tree.flatten(operation.output)[index]
        except AttributeError:
            raise ValueError(
                f"An output of '{operation.name}', which is called several times, "
                "bypasses the `LatentAugmentation`. Such a graph cannot be split: use "
                "the layer once."
            ) from None

    def _input_of_taker(self, tensor):
        """The model's own tensor for a tensor that a layer consumes."""
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
    """Finds all layers of a class in a model, including nested models."""
    return [layer for layer in _all_layers(model) if isinstance(layer, layer_class)]


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def attributes(layer):
    """Returns the values that a layer holds, also those inside lists and dicts."""
    return _leaves(vars(layer))


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


def plain(model):
    """Returns the same graph and layers as a plain Functional `keras.Model`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def is_chain(model):
    """Whether each layer of a Functional model is called once and takes only the output
    of the previous one."""
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
    """The parts of a graph that depend on the output of a layer.

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
