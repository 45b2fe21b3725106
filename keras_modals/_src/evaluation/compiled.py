"""What a model of `build_fn` is compiled with, and the same for another model."""

import keras

from keras_modals._src.models.compiling import own_objects
from keras_modals._src.training.losses import settings_of_loss


def check_compiled(model):
    """Refuses a model that could not be compiled as that of `build_fn` is."""
    if not model.compiled:
        raise ValueError(
            "The method's model is not compiled, since the settings of `build_fn`'s "
            "model could not be copied to it: register losses and metrics of your own "
            "with `@keras.saving.register_keras_serializable()`. "
            f"Received: model={model!r}"
        )


def compile_settings(model):
    """The settings that a model is compiled with, if another one can have them."""
    check_compiled(model)
    settings = model.get_compile_config()
    try:
        keras.saving.deserialize_keras_object(settings)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The settings of `build_fn`'s model cannot be copied to the method's: "
            "register losses and metrics of your own with "
            "`@keras.saving.register_keras_serializable()`. "
            f"Received: {str(error).partition('. ')[0]}"
        ) from None
    return settings


def recompile(model, **changes):
    """Compiles a model as it was, but for what is changed."""
    compile_with(model, {**compile_settings(model), **changes})


def compile_with(model, settings):
    """Compiles a model with what `compile_settings` returned."""
    # Not `compile_from_config`, which a class with a `compile` of its own may not have.
    model.compile(**keras.saving.deserialize_keras_object(settings))
    model.optimizer.build(model.trainable_variables)


def knows_own_objects(model):
    """A scope in which what a model is compiled with is found by name, registered or
    not."""
    return keras.saving.custom_object_scope(own_objects(model))


def only_loss(losses):
    """The loss of a model with one output, which may be in a list or a dict."""
    (loss,) = keras.tree.flatten(losses)
    return keras.losses.get(loss)


def name_of_loss(loss):
    """The name of a loss of Keras, or of one's own."""
    return getattr(loss, "name", getattr(loss, "__name__", loss))


def takes_logits(losses):
    """Whether some of the losses, one or a structure of them, take logits."""
    losses = map(keras.losses.get, keras.tree.flatten(losses))
    return any(settings_of_loss(loss).get("from_logits", False) for loss in losses)


#: What Keras logs accuracies as, unless they have a name of their own.
_ACCURACIES = {
    "Accuracy": "accuracy",
    "BinaryAccuracy": "binary_accuracy",
    "CategoricalAccuracy": "categorical_accuracy",
    "SparseCategoricalAccuracy": "sparse_categorical_accuracy",
}


def accuracy_log(model, output):
    """The name of the accuracy of a `LabelOutput` in the logs of a model, `None` where
    it has none; `"accuracy"` where its metrics cannot be read."""
    try:
        settings = model.get_compile_config()
    except (AttributeError, NotImplementedError, OSError, TypeError, ValueError):
        return "accuracy"
    metrics = [
        each if output.is_only or not each else output.of(each)
        for each in (settings.get("metrics"), settings.get("weighted_metrics"))
    ]
    if "accuracy" in keras.tree.flatten(metrics):
        # Of a metric that is an object, the name is in its config.
        return "accuracy"
    return next(_accuracies(metrics), None)


def _accuracies(metrics):
    """Names of the accuracies in a structure of metrics, as they are in a config."""
    if isinstance(metrics, str):
        if metrics in ("acc", *_ACCURACIES.values()):
            yield metrics
    elif isinstance(metrics, dict) and "class_name" in metrics:
        if metrics["class_name"] in _ACCURACIES:
            yield metrics["config"]["name"]
        elif isinstance(metrics["config"], str):
            # A function.
            yield from _accuracies(metrics["config"])
    elif isinstance(metrics, dict | list | tuple):
        entries = metrics.values() if isinstance(metrics, dict) else metrics
        for entry in entries:
            yield from _accuracies(entry)
