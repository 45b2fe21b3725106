"""A model that accepts raw samples."""

import inspect
from typing import Any

import keras
from keras import ops

from keras_modals._src.data.preprocessed import (
    as_arrays,
    preprocess,
    preprocessed,
    preprocessed_fit,
)


class PreprocessingModel(keras.Model):
    """A model that applies a preprocessor to its data, as KerasHub's tasks do.

    This applies to `fit`, `evaluate`, `predict`, and their counterparts for one batch.
    Arrays are read in order, in batches. Mapping them requires TensorFlow on every
    backend.

    Attributes:
        preprocessor: A layer, or another callable, that takes a batch
            `(x, y=..., sample_weight=...)` and returns it packed as by
            `keras.utils.pack_x_y_sample_weight`, or that takes `x` alone. It is not a
            layer of the model's graph. `None` if data are already inputs. Can be
            assigned.
        task_config: The config of the KerasHub task that the model was created from;
            `None` if there is none.
    """

    preprocessor: Any = None
    task_config: Any = None
    #: The preprocessed validation data of the current `fit`.
    _validation: Any = None

    def __setattr__(self, name, value):
        if name in ("preprocessor", "task_config", "_validation"):
            # Bypass Keras, which would track them as parts of the model.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def fit(self, *args, **kwargs):
        if self.preprocessor is None:
            return super().fit(*args, **kwargs)
        arguments = _by_name(keras.Model.fit, self, *args, **kwargs)
        arguments = preprocessed_fit(self.preprocessor, arguments)
        self._validation = arguments.get("validation_data")
        try:
            return super().fit(**arguments)
        finally:
            self._validation = None

    def evaluate(self, *args, **kwargs):
        arguments = _by_name(keras.Model.evaluate, self, *args, **kwargs)
        # Validation data of `fit` are already preprocessed.
        is_raw = self._validation is None or arguments.get("x") is not self._validation
        if self.preprocessor is not None and is_raw:
            arguments = preprocessed(self.preprocessor, arguments)
        return super().evaluate(**arguments)

    def predict(self, *args, **kwargs):
        arguments = _by_name(keras.Model.predict, self, *args, **kwargs)
        if self.preprocessor is not None:
            arguments = preprocessed(self.preprocessor, arguments)
        return super().predict(**arguments)

    def train_on_batch(self, *args, **kwargs):
        args, kwargs = self._batch(keras.Model.train_on_batch, args, kwargs)
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        args, kwargs = self._batch(keras.Model.test_on_batch, args, kwargs)
        return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args, **kwargs):
        args, kwargs = self._batch(keras.Model.predict_on_batch, args, kwargs)
        return super().predict_on_batch(*args, **kwargs)

    def _batch(self, method, args, kwargs):
        """Arguments of a method for one batch, after preprocessing."""
        if self.preprocessor is None:
            return args, kwargs
        arguments = _by_name(method, self, *args, **kwargs)
        names = ("x", "y", "sample_weight")
        given = [as_arrays(arguments.pop(name, None)) for name in names]
        batch = preprocess(self.preprocessor)(*given)
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        made = {name: part for name, part in zip(names, parts) if part is not None}
        return (), arguments | keras.tree.map_structure(ops.convert_to_tensor, made)

    def get_config(self):
        config = super().get_config()
        if self.preprocessor is not None:
            config["preprocessor"] = keras.saving.serialize_keras_object(
                self.preprocessor
            )
        if self.task_config is not None:
            config["task_config"] = self.task_config
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        preprocessor = config.pop("preprocessor", None)
        task_config = config.pop("task_config", None)
        model = super().from_config(config, custom_objects)
        model.task_config = task_config
        if preprocessor is not None:
            model.preprocessor = keras.saving.deserialize_keras_object(
                preprocessor, custom_objects
            )
        return model


def _by_name(method, *args, **kwargs):
    """Binds the arguments of a call of a Keras method by name."""
    arguments = inspect.signature(method).bind(*args, **kwargs).arguments
    arguments.pop("self")
    others = arguments.pop("kwargs", {})
    return {**arguments, **others}
