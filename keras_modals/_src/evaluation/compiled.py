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
    model.compile_from_config({**compile_settings(model), **changes})


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


def takes_logits(loss):
    """Whether the loss of a model with one output takes logits."""
    return settings_of_loss(only_loss(loss)).get("from_logits", False)


def logs_accuracy(model):
    """Whether the logs of a model have an `accuracy`, or may have."""
    try:
        settings = model.get_compile_config()
    except (AttributeError, NotImplementedError, OSError, TypeError, ValueError):
        return True
    names = keras.tree.flatten(
        [settings.get("metrics"), settings.get("weighted_metrics")]
    )
    # Of a metric that is an object, the name is in its config.
    return "accuracy" in names
