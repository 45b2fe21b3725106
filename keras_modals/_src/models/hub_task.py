"""Support for KerasHub's tasks, model classes that preprocess data for a graph.

They are recognized by their methods; KerasHub is not imported.
"""

import copy
import warnings

import keras

from keras_modals._src.models.preprocessing_model import PreprocessingModel


def preprocessor_of(model):
    """The preprocessor that a model applies to its data; `None` if there is none."""
    # In other models, this name may refer to a layer of their graph.
    prepares = isinstance(model, PreprocessingModel) or _is_task(model)
    return getattr(model, "preprocessor", None) if prepares else None


def _is_task(model):
    return hasattr(model, "preprocess_samples")


def config_of_task(model):
    """A config of a task, without preprocessor and compile settings.

    `None` for a model that is not a task, or has no such config."""
    if not _is_task(model):
        return None
    try:
        config = keras.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError):
        return None
    config.pop("compile_config", None)
    if "preprocessor" in config["config"]:
        config["config"]["preprocessor"] = None
    return config


def task_like(model, config):
    """Creates a task from a config, with the weights and preprocessor of a model.

    If this fails, a warning is issued and `None` is returned."""
    try:
        task = keras.saving.deserialize_keras_object(copy.deepcopy(config))
        for layer in task.layers:
            if layer.weights:
                own = model.get_layer(layer.name)
                layer.set_weights(own.get_weights())
                if layer.trainable != own.trainable:
                    # Setting it also sets that of all nested layers.
                    layer.trainable = own.trainable
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"The inference model is not a `{config['class_name']}`, which cannot be "
            "created from its config. It expects preprocessed inputs: "
            f"`model.predict(preprocessor(x))`. ({reason})",
            stacklevel=3,
        )
        return None
    task.preprocessor = model.preprocessor
    return task
