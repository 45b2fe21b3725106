import inspect
from functools import partial

import keras

from keras_modals._src.arguments import check_bounds, check_integer, check_known, shown
from keras_modals._src.labels import labels_of
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.latent_dropout import LatentDropout
from keras_modals._src.layers.policy_layer import DEFAULT_POLICY
from keras_modals._src.models.compiling import compile_alike
from keras_modals._src.models.graph import Graph, find_layers, plain
from keras_modals._src.models.hub_task import config_of_task, preprocessor_of
from keras_modals._src.models.insertion import insert
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.models.places import leading_to
from keras_modals._src.models.selected_places import select_places
from keras_modals._src.models.task import task_of
from keras_modals._src.policies.policy import Policy
from keras_modals._src.training.outputs import by_output, check_outputs, output_names

#: Default warmup steps if the policy mixes.
DEFAULT_WARMUP = 100


def augment(
    model,
    layer="auto",
    num_classes=None,
    *,
    policy=None,
    dropout=None,
    num_views=1,
    clean_view=None,
    warmup_steps=None,
    label_output=None,
    **layer_arguments,
):
    """Turns a classifier or regression model into a `ModalsModel`.

    The result augments latents during training. It has the same inputs and outputs, and
    new layers with the same names and weights. `model` itself is not changed. If
    `model` is compiled, so is the result, with the same settings and a fresh optimizer.

    By default, samples are mixed at a random depth. Each training step mixes half of
    the batch's rows, and their labels, with other rows, at one of several places in the
    model. `ModalsModel.places_summary` lists these places and why they were chosen.

    The result keeps the preprocessor of a KerasHub task, so it accepts the same strings
    or images.

    Layers are recreated from their configs and compared with the originals. If this
    fails for a layer with weights, the result shares the layers of `model`, and a
    warning is issued. A model whose class overrides training methods of Keras is
    rejected: derive its class from `ModalsModel` instead.

    Args:
        model: A built Functional or Sequential model.
        layer: Where to augment. `"auto"` selects the model's input if it is a signal
            (after preprocessing layers, after the embeddings of token and category
            numbers, and after frozen layers), up to three places inside, and the
            head's input. `"input"` selects only the first of these places. `"head"`
            selects only the input of the last layer with weights, the classifier's
            head. Or a layer whose output to augment: its name, its index in
            `model.layers`, or the layer itself (also to refer to a layer that has one
            of these names); or a list of layers. Defaults to `"auto"`.
        num_classes: Integer, the number of classes. For a regression, pass
            `labels=keras_modals.Values()` instead. Defaults to what the (label) output
            and its loss imply: numbers if the model is compiled with a regression loss
            such as `"mse"`; several labels at once if it ends in a sigmoid of width 2
            or more; else the width of the output as the number of classes, 2 for a
            width of 1. If the output has axes of positions, each position has a label.
        policy: A `keras_modals.Policy` for the place nearest to the head. Other places
            get those of its operations that mix, and are left out if there are none.
            Or a list of policies, one for each place. Defaults to
            `keras_modals.DEFAULT_POLICY`.
        dropout: Float in `[0, 1)`, the rate of a `LatentDropout` after the last place,
            which a schedule or search can change. With 0, the layer is added but drops
            nothing. Defaults to `None`, for no layer.
        num_views, clean_view, label_output: As in `ModalsModel`.
        warmup_steps: As in `ModalsModel`. Defaults to `None`: 100 if the policy mixes,
            else 0.
        **layer_arguments: Further arguments of `LatentAugmentation`. Those of the class
            memory apply to the last place.

    Returns:
        A `ModalsModel`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,), name="table"),
    ...     keras.layers.Dense(16, "relu", name="features"),
    ...     keras.layers.Dense(3, "softmax"),
    ... ])
    >>> augmented = keras_modals.augment(model)
    >>> augmented.places_summary()
    mixes at one of 2 places, drawn for each step
      table (8,): the input
      features (16,): the head's input
    >>> augmented.compile("adam", "sparse_categorical_crossentropy")
    """
    parameters = inspect.signature(LatentAugmentation.__init__).parameters
    known = {"dtype", "name", "trainable", *parameters}
    check_known(augment, layer_arguments, known, "`LatentAugmentation`")
    if layer_arguments.get("seed") is not None:
        seed = check_integer("seed", layer_arguments["seed"], 0)
        layer_arguments["seed"] = seed
    present = (
        find_layers(model, LatentAugmentation) if isinstance(model, keras.Model) else []
    )
    if present:
        raise ValueError(
            "The model already has a `LatentAugmentation` layer. "
            f"Received: {[found.name for found in present]}"
        )
    functional = _graph(model)
    check_outputs(functional)
    names = output_names(functional)
    # `ModalsModel` raises for an unknown name; it also checks several outputs.
    label_name = next((name for name in names if name == label_output), names[0])
    output = by_output(functional.output, names)[label_name]
    if num_classes is not None:
        layer_arguments["num_classes"] = num_classes
    elif layer_arguments.get("labels") is None:
        layer_arguments["labels"] = labels_of(
            task_of(functional, label_name, getattr(model, "loss", None))
        )
    graph = Graph(functional)
    target = graph.outputs[[t is output for t in functional.outputs].index(True)]
    places, calls = select_places(model, graph, leading_to(graph, target), layer)
    policies = _policies(policy, layer, len(places))
    used = [pair for pair in zip(places, policies) if pair[1] is not None]
    makers = [
        (tensor, partial(_make_layers, own, layer_arguments))
        for place, own in used
        for tensor in place.tensors
    ]
    last = len(makers) - 1
    makers = [
        (tensor, partial(make, last - index, index == last))
        for index, (tensor, make) in enumerate(makers)
    ]
    if warmup_steps is None:
        warmup_steps = DEFAULT_WARMUP if _mixes(own for _, own in used) else 0
    if dropout is not None:
        check_bounds("dropout", dropout)
        tensor, make = makers[-1]
        seed = layer_arguments.get("seed")
        makers[-1] = tensor, partial(_with_dropout, make, dropout, seed)
    copied = insert(graph, functional, calls, makers)
    result = ModalsModel(
        copied.input,
        copied.output,
        # On PyTorch, a variable's path must not contain a dot.
        name=model.name.replace(".", "_"),
        num_views=num_views,
        clean_view=clean_view,
        warmup_steps=warmup_steps,
        label_output=label_output,
    )
    result.preprocessor = preprocessor_of(model)
    result.task_config = config_of_task(model)
    result.found_places = [_described(place, graph) for place, _ in used]
    if not model.trainable:
        result.trainable = False
    # The policy decides whether Keras scales the loss.
    result.dtype_policy = model.dtype_policy
    if model.compiled:
        compile_alike(result, model)
    return result


def _graph(model):
    """Returns the model as a plain Functional model."""
    try:
        graph = plain(model) if isinstance(model, keras.Model) else None
    except (AttributeError, IndexError, TypeError, ValueError):
        graph = None
    if graph is None:
        if callable(model) and not isinstance(model, keras.Model):
            raise ValueError(
                "`augment` takes a model, not a function that builds one: write "
                f"`augment(build())`. Received: model={shown(model)}"
            )
        raise ValueError(
            "`augment` rebuilds the graph of a built Functional or Sequential model. A "
            "subclassed model has no graph: build its layers into a Functional model "
            "with a `LatentAugmentation` instead. A Sequential model needs an `Input`, "
            f"or must be called once. Received: model={model!r}"
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


#: Methods that a model's class may override without changing its outputs or training.
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
    """Names of Keras's methods that a model's own class overrides.

    Overrides in KerasHub's tasks are skipped, since they only prepare data."""
    names: set[str] = set()
    for base in type(model).__mro__:
        if base.__module__.split(".")[0] in ("keras", "keras_hub", "keras_modals"):
            break
        names.update(name for name in vars(base) if not name.startswith("_"))
        names.update({"__call__"} & vars(base).keys())
    known = {*dir(keras.Model), "preprocess_samples"} - set(_HARMLESS)
    return sorted(names & known)


def _policies(policy, layer, count):
    """The policy of each place; `None` for no layer there."""
    if isinstance(policy, (list, tuple)):
        if len(policy) != count:
            raise ValueError(
                "Expected one policy, or a list of one for each place. "
                f"Received: {len(policy)} policies for {count} places"
            )
        return list(policy)
    policy = DEFAULT_POLICY if policy is None else policy
    if layer != "auto" or not isinstance(policy, Policy):
        return [policy] * count
    return [policy.mixing_part()] * (count - 1) + [policy]


def _mixes(policies):
    """Whether any of the policies has an operation that mixes."""
    return any(
        isinstance(policy, Policy) and policy.mixing_part() for policy in policies
    )


def _make_layers(policy, arguments, index, is_last):
    """Creates a `LatentAugmentation` with its own seed."""
    arguments = dict(arguments)
    if not is_last:
        arguments.pop("memory_size", None)
    seed = arguments.pop("seed", None)
    # Layers must not draw the same numbers. The last one has the given seed.
    seed = None if seed is None else seed + 1000 * index
    return [LatentAugmentation(policy=policy, seed=seed, **arguments)]


def _with_dropout(make, rate, seed):
    # A different seed, so that dropout is independent of the moves.
    return [*make(), LatentDropout(rate, None if seed is None else seed + 1)]


def _described(place, graph):
    names = dict(zip(map(id, graph.inputs), graph.input_names, strict=True))
    names.update(
        (id(tensor), call.operation.name)
        for call in graph.calls
        for tensor in call.outputs
    )
    where = " and ".join(
        f"{names[id(tensor)]} {tuple(tensor.shape[1:])}" for tensor in place.tensors
    )
    return where, place.why
