"""Copying of compile settings between models."""

import copy
import inspect
import warnings

import keras


def compile_alike(result, model, **weights):
    """Compiles a model like another one, or warns if the settings cannot be copied.

    Args:
        result: The model to compile.
        model: The model to copy settings from.
        **weights: Weights of terms, `<kind>_weight`.
    """
    try:
        arguments = compile_arguments(result, model)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        warnings.warn(
            f"The new model '{result.name}' is not compiled, because the settings of "
            f"the original could not be copied: call `compile` on it. ({error})",
            stacklevel=3,
        )
        return
    result.compile(**{**arguments, **weights})
    for term, other in zip(result.terms, getattr(model, "terms", ())):
        term.take_state(other)
    result.optimizer.build(result.trainable_variables)


def compile_arguments(result, model, **changes):
    """Returns the arguments of `compile` with which a model is compiled like another.

    Losses are those of the other model; optimizer and metrics are newly created.

    Args:
        result: The model to compile, which may contain the other one as a layer.
        model: The model to copy settings from.
        **changes: Serialized arguments of `compile`, instead of those of `model`.
    """
    # Optimizers change the config that they are created from.
    config = {**copy.deepcopy(model.get_compile_config()), **changes}
    if "loss" not in changes:
        config.pop("loss", None)
    with keras.saving.custom_object_scope(own_objects(model)):
        arguments = keras.saving.deserialize_keras_object(config)
    arguments.setdefault("loss", getattr(model, "loss", None))
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    if result.dtype_policy.name == "mixed_float16" and not scaled:
        arguments["auto_scale_loss"] = False
    copy_exclusions(arguments.get("optimizer"), result, model)
    return arguments


def own_objects(model):
    """Dict from name to the custom classes and functions that a model is compiled with.

    Ambiguous names are left out. A config has only the names of metric functions, and
    Keras offers no other way to read them, nor a learning rate schedule.
    """
    compiled = getattr(model, "_compile_metrics", None)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    schedule = getattr(optimizer, "_learning_rate", None)
    used = keras.tree.flatten(
        [
            optimizer,
            schedule,
            # That of a `ScaledSchedule`.
            getattr(schedule, "schedule", None),
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


def copy_exclusions(optimizer, result, model):
    """Copies the exclusions from weight decay of a model's optimizer.

    The optimizer's config does not contain them, and Keras offers no other way to read
    them.

    Args:
        optimizer: The optimizer that receives them, for the model `result`, which may
            contain `model` as a layer.
        result, model: As in `compile_arguments`.
    """
    original = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    pattern = getattr(original, "_exclude_from_weight_decay_pattern", None)
    excluded = getattr(original, "_exclude_from_weight_decay", None) or set()
    if pattern is None and not excluded:
        return
    owner = model if model in result.layers else result
    copies = {layer.name: layer.variables for layer in owner.layers}
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
            f"The new model '{result.name}' applies weight decay to variables that the "
            "original excludes, because they were replaced by new ones. Compile it "
            "with an optimizer that excludes them by `var_names`.",
            stacklevel=5,
        )


def _keys(variable):
    """What an optimizer stores for a variable that it excludes, on any backend."""
    optimizer = keras.optimizers.SGD()
    optimizer.exclude_from_weight_decay(var_list=[variable])
    return optimizer._exclude_from_weight_decay
