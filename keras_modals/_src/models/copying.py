"""Copies of Functional models, layer by layer, with the layers' own classes."""

import tempfile
import types
import warnings

import keras
import numpy as np

from keras_modals._src.models.graph import Graph

_PLAIN = (bool, int, float, str, type(None))


class CopyError(ValueError):
    """A layer cannot be recreated from its config."""


def copy_model(model):
    """Copies a model with `copy_graph`, without changing the graph."""
    return copy_graph(model, lambda: _call)


def _call(layer, *args, **kwargs):
    return layer(*args, **kwargs)


def copy_graph(model, make_call):
    """Returns a plain, uncompiled copy of a model with its graph rebuilt.

    Layers are recreated from their configs, with their own classes, and get the
    weights, seeds, and vocabularies of the originals. If this fails for a layer with
    weights, the graph is rebuilt on the model's own layers, and a warning is issued.

    Args:
        model: A built Functional or Sequential model.
        make_call: `fn()` that returns `fn(layer, *args, **kwargs)`, which calls a
            copied layer on its inputs, or does something else in its place.
    """
    return run_on_copies(
        Graph(model),
        lambda graph, copier: _rebuilt(graph, model, copier, make_call()),
        model.name,
    )


def _rebuilt(graph, model, copier, call):
    inputs = graph.new_inputs()

    def call_copy(operation, *args, **kwargs):
        return call(copier.copy_of(operation), *args, **kwargs)

    value = graph.run(graph.inputs, keras.tree.flatten(inputs), call_copy)
    outputs = [value(tensor) for tensor in graph.outputs]
    if not isinstance(model, keras.Sequential):
        outputs = keras.tree.pack_sequence_as(model.output, outputs)
    else:
        outputs = outputs[0]
    return keras.Model(inputs, outputs, name=model.name)


def split(model, layer):
    """Splits a Functional model at a layer.

    Args:
        model: A Functional model.
        layer: One of `model.layers`, called once.

    Returns:
        Pair of a list of tensors and a Functional model. The tensors are those of
        `model` that the part after the layer needs, the layer's input first. The model
        is that part, on copies of its layers: it maps the layer's output and the other
        tensors to those of `model.outputs` that depend on the layer.
    """
    graph = Graph(model)
    (call,) = (each for each in graph.calls if each.operation is layer)
    if len(call.args) != 1 or not isinstance(call.args[0], keras.KerasTensor):
        raise ValueError(
            f"The layer '{layer.name}' has several inputs. Call it with latents only."
        )
    calls, reached = graph.reached_from(layer)
    _check_no_layer_on_both_sides(graph, calls, layer)
    starts = [call.outputs[0]]
    for each in calls:
        starts += [t for t in each.inputs if id(t) not in reached]
    starts = list({id(tensor): tensor for tensor in starts}.values())
    # The layer may have taken the latents' mask in addition to the latents.
    tensors = [graph.tensor_of_model(t) for t in (call.args[0], *starts[1:])]

    def head(graph, copier):
        inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in starts]
        value = graph.run(starts, inputs, copier.call)
        outputs = [value(t) for t in graph.outputs if id(t) in reached]
        return keras.Model(
            inputs if len(inputs) > 1 else inputs[0],
            outputs if len(outputs) > 1 else outputs[0],
        )

    return tensors, run_on_copies(graph, head, model.name)


def _check_no_layer_on_both_sides(graph, calls, layer):
    after = {id(each.operation) for each in calls}
    made = {id(each) for each in calls}
    names = {
        each.operation.name
        for each in graph.calls
        if id(each) not in made
        and id(each.operation) in after
        and isinstance(each.operation, keras.layers.Layer)
    }
    if names:
        raise ValueError(
            f"Layers are used both before and after '{layer.name}': {sorted(names)}. "
            "The graph cannot be split there."
        )


def run_on_copies(graph, build, name):
    """Returns `build(graph, copier)` with a copier that copies layers.

    If they cannot be copied, the copier returns the layers themselves."""
    try:
        return _build(graph, build, _Copier())
    except CopyError as error:
        warnings.warn(
            f"The new model shares its layers, and so its weights, with '{name}': "
            f"{error} To copy it, give its class a `get_config` with all of its "
            "arguments, and register the objects that the config names.",
            stacklevel=4,
        )
    return _build(graph, build, _Copier(shares=True))


def _build(graph, build, copier):
    result = build(graph, copier)
    copier.finish()
    return result


class _Copier:
    """Copies layers, each once. Operations of `keras.ops` have no state.

    Args:
        shares: Whether to return layers themselves, except those of this package.
    """

    def __init__(self, shares=False):
        self._shares = shares
        self._copies = {}

    def copy_of(self, operation):
        is_ours = _package(operation) == "keras_modals"
        if not isinstance(operation, keras.layers.Layer) or (
            self._shares and not is_ours
        ):
            return operation
        if id(operation) not in self._copies:
            # Keep the layer, so that no other one gets its id.
            self._copies[id(operation)] = operation, self._copy(operation)
        return self._copies[id(operation)][1]

    def call(self, operation, *args, **kwargs):
        """Calls an operation's copy."""
        return self.copy_of(operation)(*args, **kwargs)

    def _copy(self, layer):
        if type(layer) is keras.Sequential and layer.built:
            first = layer.inputs[0]
            copies = [self.copy_of(each) for each in layer.layers]
            inputs = keras.Input(batch_shape=first.shape, dtype=first.dtype)
            return keras.Sequential([inputs, *copies], name=layer.name)
        if _is_functional(layer):
            return _rebuilt(Graph(layer), layer, self, _call)
        try:
            with warnings.catch_warnings():
                # Keras warns about layers that are built by their first call.
                warnings.simplefilter("ignore")
                copy = _made_anew(layer)
            _compare(layer, copy, {}, _take_over)
        except Exception as error:
            if not layer.variables:
                return layer
            reason = " ".join(str(error).split())[:100]
            raise CopyError(
                f"the layer '{layer.name}' of class `{type(layer).__name__}` cannot "
                f"be made from its config ({type(error).__name__}: {reason})."
            ) from error
        return copy

    def finish(self):
        """Copies the layers' state to the built copies and checks them."""
        # A model was added after its layers, and setting its flag sets theirs.
        for layer, copy in reversed(self._copies.values()):
            copy.trainable = layer.trainable
        for layer, copy in self._copies.values():
            if (
                copy is layer
                or _is_functional(layer)
                or type(layer) is keras.Sequential
            ):
                # Not copied, or made of layers that are copied themselves.
                continue
            try:
                _compare(layer, copy, {}, _move_state)
                _compare(layer, copy, {}, _refuse)
                _copy_variables(layer, copy)
            except Exception as error:
                reason = " ".join(str(error).split())[:100]
                raise CopyError(
                    f"the copy of the layer '{layer.name}' of class "
                    f"`{type(layer).__name__}` differs from it ({reason})."
                ) from error


def _is_functional(layer):
    """Whether a layer is a plain Functional model, not of a subclass."""
    is_model = isinstance(layer, keras.Model) and hasattr(layer, "operations")
    return (
        is_model and type(layer).__name__ == "Functional" and _package(layer) == "keras"
    )


def _package(instance):
    return type(instance).__module__.split(".")[0]


def copy_layer(layer):
    """Copies a built layer with its weights."""
    copier = _Copier()
    copy = copier.copy_of(layer)
    copier.finish()
    return copy


#: Keys of every layer's config that a class may not accept.
_BASE_CONFIG = ("name", "trainable", "dtype")


def _made_anew(layer):
    """Creates a layer of the same class and config, built if the config says how."""
    config = keras.saving.serialize_keras_object(layer)
    custom_objects = _custom_objects(layer)
    if _package(layer) != "keras":
        # Last: if two classes share a name, use the layer's own.
        custom_objects[config["registered_name"] or config["class_name"]] = type(layer)
    try:
        copy = keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects, safe_mode=False
        )
    except TypeError:
        copy = None
    if type(copy) is type(layer):
        return copy
    arguments = layer.get_config()
    base = {name: arguments.pop(name) for name in _BASE_CONFIG if name in arguments}
    with keras.saving.custom_object_scope(custom_objects):
        try:
            copy = type(layer).from_config({**arguments, **base})
        except TypeError:
            copy = type(layer).from_config(arguments)
            copy.name, copy.dtype_policy = layer.name, layer.dtype_policy
    if config.get("build_config") and not copy.built:
        copy.build_from_config(config["build_config"])
    return copy


def _custom_objects(layer):
    """Functions and classes that a config names but Keras does not know.

    They are found in the values that a layer holds."""
    found = {}
    for value in keras.tree.flatten(list(vars(layer).values())):
        named = value if isinstance(value, types.FunctionType) else type(value)
        is_known = named.__module__.split(".")[0] in ("keras", "builtins", "numpy")
        if not is_known and (named is value or hasattr(value, "get_config")):
            found[keras.saving.get_registered_name(named)] = named
    return found


def _compare(value, copy, seen, visit):
    """Visits a layer and its copy, and the layers inside them.

    Args:
        value, copy: Layers.
        seen: Dict of visited layers, by id.
        visit: `fn(layer, copy, name, value, copied)`, called for each attribute that
            is not a layer, and for the layer itself, with `name=None`.
    """
    if id(value) in seen:
        return
    seen[id(value)] = value
    if type(value) is not type(copy):
        raise TypeError(
            f"`{type(copy).__name__}` of {type(copy).__module__} in place of "
            f"`{type(value).__name__}` of {type(value).__module__}"
        )
    visit(value, copy, None, None, None)
    for name, attribute in vars(value).items():
        if callable(getattr(type(value), name, None)) and name != "call":
            # A method that Keras wraps.
            continue
        copied = vars(copy).get(name, _MISSING)
        _compare_attributes(value, copy, name, attribute, copied, seen, visit)


def _compare_attributes(layer, copy, name, value, copied, seen, visit):
    if isinstance(value, keras.layers.Layer):
        if isinstance(copied, keras.layers.Layer):
            _compare(value, copied, seen, visit)
    elif isinstance(value, (list, tuple)) and isinstance(copied, (list, tuple)):
        if _has_layers(value) and len(value) == len(copied):
            for one, other in zip(value, copied):
                _compare_attributes(layer, copy, name, one, other, seen, visit)
        else:
            visit(layer, copy, name, value, copied)
    elif isinstance(value, dict) and isinstance(copied, dict):
        for key in value.keys() & copied.keys():
            if isinstance(value[key], keras.layers.Layer):
                _compare(value[key], copied[key], seen, visit)
    else:
        visit(layer, copy, name, value, copied)


def _has_layers(value):
    is_list = isinstance(value, (list, tuple))
    return is_list and any(isinstance(entry, keras.layers.Layer) for entry in value)


def _take_over(layer, copy, name, value, copied):
    """Gives a copy the functions and stateless objects of the layer itself.

    A config knows them by name only."""
    if (isinstance(value, types.FunctionType) and value is not copied) or (
        _is_own_object(value) and type(value) is not type(copied)
    ):
        setattr(copy, name, value)


def _refuse(layer, copy, name, value, copied):
    """Raises if a copy's attribute has another value."""
    if name == "call":
        raise ValueError("its `call` was replaced")
    if _has_layers(value):
        raise ValueError(f"`{name}` has other layers")
    if name is None or name in _KERAS_ATTRIBUTES or _package(layer) == "keras":
        return
    if name in _OF_TENSORFLOW:
        return
    if isinstance(value, str) and "name" in name:
        # Keras appends numbers to names.
        return
    if copied is _MISSING or not _equal(value, copied):
        text = "missing" if copied is _MISSING else repr(copied)[:40]
        raise ValueError(f"`{name}` is {text}, not {repr(value)[:40]}")


def _move_state(layer, copy, name, value, copied):
    """Loads into a copy what the layer would save to a file."""
    if name is not None:
        return
    copy.trainable = layer.trainable
    store: dict = {}
    layer.save_own_variables(store)
    arrays = {key: np.array(keras.ops.convert_to_numpy(v)) for key, v in store.items()}
    if arrays:
        copy.load_own_variables(arrays)
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            copy.load_assets(folder)


def _copy_variables(layer, copy):
    pairs = list(zip(layer.variables, copy.variables, strict=True))
    for variable, target in pairs:
        if variable.shape != target.shape:
            raise ValueError(f"`{variable.path}` has the shape {target.shape}")
        target.trainable = variable.trainable
        target.regularizer = getattr(variable, "regularizer", None)
        target.constraint = getattr(variable, "constraint", None)
    copy_values([target for _, target in pairs], [variable for variable, _ in pairs])


def copy_values(targets, variables):
    """Assigns copies of variables' values.

    JAX deletes arrays that were passed to a step: two variables must not share one."""
    for target, variable in zip(targets, variables, strict=True):
        target.assign(np.array(keras.ops.convert_to_numpy(variable)))


#: Attributes that every Keras layer has, including calls and traces.
_KERAS_ATTRIBUTES = frozenset([*vars(keras.layers.Layer()), *vars(keras.Model())])

#: Attributes that TensorFlow sets for checkpoints once a layer is in a model.
_OF_TENSORFLOW = frozenset(
    {
        "_self_name_based_restores",
        "_self_saveable_object_factories",
        "_self_setattr_tracking",
        "_self_unconditional_checkpoint_dependencies",
        "_self_unconditional_deferred_dependencies",
        "_self_unconditional_dependency_names",
        "_self_update_uid",
    }
)


def _is_own_object(value):
    return (
        hasattr(value, "get_config")
        and not isinstance(value, keras.layers.Layer)
        and (_package(value) not in ("keras", "keras_modals"))
    )


#: Stands for an attribute that a copy lacks.
_MISSING = object()


def _equal(value, copied, depth=0):
    """Whether two values are equal, as far as they can be compared.

    Objects created by Keras are compared elsewhere."""
    if isinstance(value, _PLAIN):
        return type(value) is type(copied) and (value == copied or value != value)
    if isinstance(value, (np.ndarray, np.generic)) or keras.ops.is_tensor(value):
        pair = [np.asarray(keras.ops.convert_to_numpy(v)) for v in (value, copied)]
        return pair[0].shape == pair[1].shape and bool(np.all(pair[0] == pair[1]))
    if isinstance(value, (list, tuple)):
        return (
            isinstance(copied, (list, tuple))
            and len(value) == len(copied)
            and all(_equal(v, c, depth + 1) for v, c in zip(value, copied))
        )
    if isinstance(value, dict):
        return (
            isinstance(copied, dict)
            and value.keys() == copied.keys()
            and all(_equal(v, copied[k], depth + 1) for k, v in value.items())
        )
    is_own = _package(value) not in ("keras", "keras_modals", "builtins", "numpy")
    if is_own and hasattr(value, "__dict__") and not callable(value) and depth < 3:
        return type(value) is type(copied) and _equal(vars(value), vars(copied), depth)
    return True
