"""KerasHub's tasks: models of classes of their own, which prepare data for a graph.

They are known by what they can do: KerasHub is not imported.
"""

import copy
import warnings

import keras

from keras_modals._src.models.preprocessing_model import PreprocessingModel


def preprocessor_of(model):
    """The preprocessor that a model applies to its data, `None` where there is none."""
    # What other models have under this name may be a layer of their graph.
    prepares = isinstance(model, PreprocessingModel) or _is_task(model)
    return getattr(model, "preprocessor", None) if prepares else None


def _is_task(model):
    return hasattr(model, "preprocess_samples")


def config_of_task(model):
    """A config that makes a task like a model, without preprocessor and settings of
    `compile`; `None` for a model that is no task, or has no such config."""
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
    """A task of a config with the weights and the preprocessor of a model that was made
    of such a task; `None`, with a warning, where there is none."""
    try:
        task = keras.saving.deserialize_keras_object(copy.deepcopy(config))
        for layer in task.layers:
            if layer.weights:
                own = model.get_layer(layer.name)
                layer.set_weights(own.get_weights())
                if layer.trainable != own.trainable:
                    # Setting it sets that of all layers within.
                    layer.trainable = own.trainable
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"The inference model is no `{config['class_name']}`, which cannot be made "
            "from its config: it takes what the preprocessor makes, "
            f"`model.predict(preprocessor(x))`. ({reason})",
            stacklevel=3,
        )
        return None
    task.preprocessor = model.preprocessor
    return task
