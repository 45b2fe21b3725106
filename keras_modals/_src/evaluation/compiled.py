"""Copies the compile settings of a model from `build_fn` to another model."""

import contextlib
import copy

import keras

from keras_modals._src.models.compiling import compile_arguments, own_objects
from keras_modals._src.training.losses import loss_named, settings_of_loss


def check_compiled(model):
    """Refuses a model that could not be compiled like the one from `build_fn`."""
    if not model.compiled:
        raise ValueError(
            "The method's model is not compiled, since the compile settings of the "
            "model from `build_fn` could not be copied. Register custom losses and "
            "metrics with `@keras.saving.register_keras_serializable()`. "
            f"Received: model={model!r}"
        )


def compile_settings(model):
    """Returns the compile settings of a model, if they can be copied."""
    check_compiled(model)
    settings = model.get_compile_config()
    with _copying():
        # Optimizers change the config that they are created from.
        keras.saving.deserialize_keras_object(copy.deepcopy(settings))
    return settings


@contextlib.contextmanager
def _copying():
    """Says what to register if settings cannot be copied."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The compile settings of the model from `build_fn` cannot be copied to the "
            "method's model. Register custom losses and metrics with "
            "`@keras.saving.register_keras_serializable()`. "
            f"Received: {str(error).partition('. ')[0]}"
        ) from None


def recompile(model, **changes):
    """Compiles a model again, with some settings changed."""
    compile_like(model, model, **changes)


def compile_like(result, model, **changes):
    """Compiles a model with the settings of another one, some of them changed.

    The arguments are those of `compile_arguments`.
    """
    check_compiled(model)
    with _copying():
        arguments = compile_arguments(result, model, **changes)
    compile_with(result, arguments)


def compile_with(model, arguments):
    """Compiles a model, and creates the variables of its optimizer."""
    # Not `compile_from_config`, which a class that overrides `compile` may lack.
    model.compile(**arguments)
    model.optimizer.build(model.trainable_variables)


def knows_own_objects(model):
    """Returns a scope in which the objects that a model is compiled with are found by
    name, registered or not."""
    return keras.saving.custom_object_scope(own_objects(model))


def only_loss(losses):
    """Returns the loss of a model with one output, which may be in a list or dict."""
    (loss,) = keras.tree.flatten(losses)
    return loss_named(loss)


def name_of_loss(loss):
    """Returns the name of a Keras loss or a custom loss."""
    return getattr(loss, "name", getattr(loss, "__name__", loss))


def takes_logits(losses):
    """Whether some of the losses, one or a structure of them, take logits."""
    losses = map(loss_named, keras.tree.flatten(losses))
    return any(settings_of_loss(loss).get("from_logits", False) for loss in losses)


#: Keras's default names of accuracies in the logs.
_ACCURACIES = {
    "Accuracy": "accuracy",
    "BinaryAccuracy": "binary_accuracy",
    "CategoricalAccuracy": "categorical_accuracy",
    "SparseCategoricalAccuracy": "sparse_categorical_accuracy",
}


def accuracy_log(model, output):
    """Returns the name of a `LabelOutput`'s accuracy in the logs of a model.

    Returns `None` if there is no accuracy, and `"accuracy"` if the metrics cannot be
    read.
    """
    try:
        settings = model.get_compile_config()
    except (AttributeError, NotImplementedError, OSError, TypeError, ValueError):
        return "accuracy"
    metrics = [
        each if output.is_only or not each else output.of(each)
        for each in (settings.get("metrics"), settings.get("weighted_metrics"))
    ]
    if "accuracy" in keras.tree.flatten(metrics):
        # A metric given as an object has its name in its config.
        return "accuracy"
    return next(_accuracies(metrics), None)


def _accuracies(metrics):
    """Yields the names of the accuracies in a structure of metrics from a config."""
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
