import inspect
import numbers
import warnings

import keras

from keras_modals._src.labels import Classes
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.latent_dropout import LatentDropout
from keras_modals._src.models.copying import copy_graph
from keras_modals._src.models.graph import find_layers, plain
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.training.outputs import by_output, check_outputs, output_names


def augment(
    model,
    layer=None,
    num_classes=None,
    *,
    dropout=None,
    num_views=2,
    clean_view=None,
    label_output=None,
    **layer_arguments,
):
    """Turns a classifier into a `ModalsModel` that augments its latents.

    The result has the same inputs and outputs, and new layers with the same names and
    weights: `model` itself is left as it is. If `model` is compiled, so is the
    result, with the same settings and a fresh optimizer.

    Layers are made anew from their configs and compared with the original ones. If a
    layer with weights cannot be made so, the result shares the layers of `model`, and a
    warning says it. A model whose class overrides what Keras does in training is
    refused: derive it from `ModalsModel`.

    Args:
        model: A built Functional or Sequential classifier.
        layer: The layer whose output is to be augmented: its name, its index in
            `model.layers`, or the layer itself. Defaults to `None`: the input of the
            last layer with weights, the classifier's head.
        num_classes: Integer. Defaults to the width of the (label) output, 2 for a
            width of 1.
        dropout: Optional float in `[0, 1)`, the rate of a `LatentDropout` behind the
            `LatentAugmentation`, which a schedule or search can change. Defaults to
            `None`, no such layer.
        num_views, clean_view, label_output: As in `ModalsModel`.
        **layer_arguments: Further arguments of `LatentAugmentation`.

    Returns:
        A `ModalsModel`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(16, "relu", name="features"),
    ...     keras.layers.Dense(3, "softmax"),
    ... ])
    >>> augmented = keras_modals.augment(model, layer="features")
    >>> augmented.compile("adam", "sparse_categorical_crossentropy")
    """
    present = (
        find_layers(model, LatentAugmentation) if isinstance(model, keras.Model) else []
    )
    if present:
        raise ValueError(
            "The model has a `LatentAugmentation` layer already. "
            f"Received: {[found.name for found in present]}"
        )
    graph = _graph(model)
    check_outputs(graph)
    names = output_names(graph)
    # An unknown name is refused by `ModalsModel`, which knows several outputs as well.
    label_name = label_output if label_output in names else names[0]
    output = by_output(graph.output, names)[label_name]
    Classes(2).check_output(label_name, output.shape)
    if num_classes is None:
        num_classes = _infer_num_classes(output)
    layers = [LatentAugmentation(num_classes, **layer_arguments)]
    if dropout is not None:
        # Another seed, so that what is dropped does not follow what is moved.
        seed = layer_arguments.get("seed")
        layers.append(LatentDropout(dropout, None if seed is None else seed + 1))
    if layer is None:
        copied = _insert_before(graph, _find_head(graph, output), layers)
    else:
        copied = _insert_after(graph, _layer_name(model, graph, layer), layers)
    result = ModalsModel(
        copied.input,
        copied.output,
        # On PyTorch, a variable's path cannot have a dot in it.
        name=model.name.replace(".", "_"),
        num_views=num_views,
        clean_view=clean_view,
        label_output=label_output,
    )
    if not model.trainable:
        result.trainable = False
    # It decides whether Keras scales the loss.
    result.dtype_policy = model.dtype_policy
    if model.compiled:
        compile_alike(result, model)
    return result


def _graph(model):
    """The model as a plain Functional one."""
    try:
        graph = plain(model) if isinstance(model, keras.Model) else None
    except (AttributeError, IndexError, TypeError, ValueError):
        graph = None
    if graph is None:
        raise ValueError(
            "`augment` rebuilds the graph of a built Functional or Sequential model. A "
            "subclassed model has none: build its layers into a Functional model with "
            "a `LatentAugmentation` instead. A Sequential model needs an `Input`, or a "
            f"first call. Received: model={model!r}"
        )
    names = overridden(model)
    if names:
        raise ValueError(
            f"`augment` would drop what `{type(model).__name__}` overrides: "
            f"{', '.join(names)}. Derive the class from `keras_modals.ModalsModel` "
            "instead of `keras.Model`, and put a `LatentAugmentation` into its graph. "
            f"Received: model={model!r}"
        )
    return graph


#: Methods of a class of its own that do not change what a model says or learns.
_HARMLESS = (
    "build",
    "build_from_config",
    "compute_output_shape",
    "compute_output_spec",
    "count_params",
    "export",
    "from_config",
    "get_build_config",
    "get_compile_config",
    "get_config",
    "load_weights",
    "save",
    "save_weights",
    "summary",
)


def overridden(model):
    """Names of methods that a model's own class has in place of Keras's. Those of
    Keras Hub's tasks only prepare data."""
    names: set[str] = set()
    for base in type(model).__mro__:
        if base.__module__.split(".")[0] in ("keras", "keras_hub", "keras_modals"):
            break
        names.update(name for name in vars(base) if not name.startswith("_"))
        names.update({"__call__"} & vars(base).keys())
    known = set(dir(keras.Model)) - set(_HARMLESS)
    return sorted(names & known)


def _infer_num_classes(output):
    width = output.shape[-1]
    if len(output.shape) != 2 or width is None:
        raise ValueError(
            "Cannot tell the number of classes from an output of shape "
            f"{tuple(output.shape)}. Pass `num_classes`."
        )
    return max(width, 2)


def _find_head(model, output):
    """Name of the last layer with weights that leads to `output`."""
    weighted = [
        layer for layer in keras.Model(model.input, output).layers if layer.weights
    ]
    if not weighted:
        raise ValueError(
            "The model has no layer with weights. Pass `layer`, one of "
            f"{_layer_names(model)}"
        )
    head = weighted[-1]
    if isinstance(head, keras.layers.Embedding):
        raise ValueError(
            f"The last layer with weights, '{head.name}', is an embedding: before it "
            f"there are no latents. Pass `layer`, one of {_layer_names(model)}"
        )
    if isinstance(head, keras.Model):
        raise ValueError(
            f"The last layer with weights, '{head.name}', is a model, whose latents "
            "lie inside it: augment that model, and build the outer one on the result; "
            f"or pass `layer`, one of {_layer_names(model)}, if one has latents."
        )
    return head.name


def _layer_names(model):
    return [
        layer.name
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _layer_name(model, graph, layer):
    """The name of a layer in the graph of a model, given it, its index or its name."""
    name = layer
    if isinstance(layer, keras.layers.Layer):
        name = layer.name if any(each is layer for each in model.layers) else None
    elif isinstance(layer, numbers.Integral) and not isinstance(layer, bool):
        index, count = int(layer), len(model.layers)
        name = model.layers[index].name if -count <= index < count else None
    if name not in _layer_names(graph):
        raise ValueError(
            "No such layer. Expected a name, an index in `model.layers` or a layer, of "
            f"{_layer_names(graph)}. Received: layer={layer!r}"
        )
    return name


def _insert_after(model, name, layers):
    def insert(augment, layer, *args, **kwargs):
        return augment(_latents(layer(*args, **kwargs), name))

    return _insert_at(model, name, layers, insert)


def _insert_before(model, name, layers):
    def insert(augment, layer, *args, **kwargs):
        tensors = [
            value
            for value in keras.tree.flatten((args, kwargs))
            if isinstance(value, keras.KerasTensor)
        ]
        if len(tensors) != 1 or not args or tensors[0] is not args[0]:
            raise ValueError(
                f"The last layer with weights, '{name}', takes several tensors: there "
                "is no latent before it. Pass `layer`, the name of one after which "
                f"samples are single tensors, of {_layer_names(model)}; if that is "
                "the head alone, split it into an encoder and a head."
            )
        return layer(augment(_latents(args[0], name)), *args[1:], **kwargs)

    return _insert_at(model, name, layers, insert)


def _latents(tensor, name):
    if not isinstance(tensor, keras.KerasTensor) or "float" not in tensor.dtype:
        raise ValueError(
            f"At the layer '{name}' samples are no latents: `LatentAugmentation` takes "
            "one tensor of floats. Pass another `layer`; for whole numbers, such as "
            f"ids, one after their embedding. Received: {tensor}"
        )
    return tensor


def _insert_at(model, name, layers, insert):
    """A copy of a model with layers like `layers` at the call of another."""

    def make_call():
        copies = [type(layer).from_config(layer.get_config()) for layer in layers]

        def augment(tensor):
            for copy in copies:
                tensor = copy(tensor)
            return tensor

        def call(layer, *args, **kwargs):
            if layer.name != name:
                return layer(*args, **kwargs)
            if copies[0].built:
                raise ValueError(
                    f"The layer '{name}' is used several times in the model. Pass as "
                    f"`layer` one that is used once. Received: layer={name!r}"
                )
            return insert(augment, layer, *args, **kwargs)

        return call

    return copy_graph(model, make_call)


def compile_alike(result, model):
    """Compiles a model as another one is, or warns where that cannot be copied.

    Losses are the other model's own; its optimizer and metrics are made anew.
    """
    try:
        config = dict(model.get_compile_config())
        config.pop("loss", None)
        with keras.saving.custom_object_scope(own_objects(model)):
            arguments = keras.saving.deserialize_keras_object(config)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        warnings.warn(
            f"The new model '{result.name}' is not compiled, since the settings of the "
            f"original could not be copied: call `compile` on it. ({error})",
            stacklevel=3,
        )
        return
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    arguments["auto_scale_loss"] = scaled
    _copy_exclusions(arguments.get("optimizer"), result, model)
    result.compile(**arguments, loss=getattr(model, "loss", None))
    for term, other in zip(result.terms, getattr(model, "terms", ())):
        term.take_state(other)
    result.optimizer.build(result.trainable_variables)


def own_objects(model):
    """Dict from name to the classes and functions that a model is compiled with and
    that are none of Keras's, where a name stands for one. A config has only the names
    of metrics' functions, and Keras offers no other way to read them, nor a schedule.
    """
    compiled = getattr(model, "_compile_metrics", None)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    used = keras.tree.flatten(
        [
            optimizer,
            getattr(optimizer, "_learning_rate", None),
            getattr(compiled, "_user_metrics", None),
            getattr(compiled, "_user_weighted_metrics", None),
            list(model.metrics),
            model.loss,
        ]
    )
    values = {each if inspect.isroutine(each) else type(each) for each in used}
    others = ("keras", "builtins")
    own = [v for v in values if (v.__module__ or "").split(".")[0] not in others]
    names = [value.__name__ for value in own]
    return {value.__name__: value for value in own if names.count(value.__name__) == 1}


def _copy_exclusions(optimizer, result, model):
    """Excludes from weight decay what a model's optimizer excludes. The optimizer's
    config does not have it, and Keras offers no other way to read it."""
    original = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    pattern = getattr(original, "_exclude_from_weight_decay_pattern", None)
    excluded = getattr(original, "_exclude_from_weight_decay", None) or set()
    if pattern is None and not excluded:
        return
    copies = {layer.name: layer.variables for layer in result.layers}
    variables = [
        copy
        for layer in model.layers
        for variable, copy in zip(layer.variables, copies.get(layer.name, ()))
        if excluded & _keys(variable)
    ]
    getattr(optimizer, "inner_optimizer", optimizer).exclude_from_weight_decay(
        var_list=variables, var_names=None if pattern is None else [pattern.pattern]
    )
    if len(variables) < len(excluded):
        warnings.warn(
            f"The new model '{result.name}' decays variables that the original "
            "excludes from weight decay, since it has others in their place: compile "
            "it with an optimizer that excludes them by `var_names`.",
            stacklevel=4,
        )


def _keys(variable):
    """What an optimizer that excludes a variable has in its set, on any backend."""
    optimizer = keras.optimizers.SGD()
    optimizer.exclude_from_weight_decay(var_list=[variable])
    return optimizer._exclude_from_weight_decay
