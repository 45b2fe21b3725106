"""One training of a comparison: its data, and how a method fits a model to it."""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_modals._src.labels import Classes
from keras_modals._src.models.compiling import own_objects


class NotApplicableError(ValueError):
    """A method has no meaning for this model or data; its message says why."""


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


def knows_own_objects(model):
    """A scope in which what a model is compiled with is found by name, registered or
    not."""
    return keras.saving.custom_object_scope(own_objects(model))


@dataclass
class Trial:
    """What a method needs besides the model.

    Attributes:
        train, validation: Pairs of inputs and targets: class indices or one-hot rows.
        num_classes: Integer.
        seed: Integer.
        epochs, batch_size: Of `fit`.
        layer: Where to augment, as in `keras_modals.augment`; `None` where each method
            has its own place.
        monitor: Name of the log by whose best epoch weights are restored, or `None`.
            Less is better where the name ends with "loss" or "error".
        fit_arguments: Further arguments of `fit`.
    """

    train: tuple
    validation: tuple
    num_classes: int
    seed: int
    epochs: int
    batch_size: int
    layer: str | None = None
    monitor: str | None = None
    fit_arguments: dict[str, Any] = field(default_factory=dict)

    def fit(self, model, *data, **arguments):
        """Fits a model, and returns it with the weights of its best epoch.

        Args:
            model: A compiled model.
            *data: What to give to `fit` in place of the training samples.
            **arguments: Further arguments of `fit`, such as `class_weight`.
        """
        check_compiled(model)
        settings = {
            "validation_data": self.validation,
            "validation_batch_size": 500,
            "epochs": self.epochs,
            "verbose": 0,
            **self.fit_arguments,
            **arguments,
        }
        if self.monitor is not None:
            best = keras.callbacks.EarlyStopping(
                self.monitor,
                patience=self.epochs,
                mode=self.direction,
                restore_best_weights=True,
            )
            others = keras.tree.flatten(settings.get("callbacks") or [])
            settings["callbacks"] = [*others, best]
        data = data or self.train
        if len(data) == 2:
            settings["batch_size"] = self.batch_size
        logs = model.fit(*data, **settings).history
        if self.monitor is not None and self.monitor not in logs:
            raise ValueError(
                f"The logs have no '{self.monitor}'. Compile the model with "
                '`metrics=["accuracy"]`, or pass another `monitor`. '
                f"Received: logs={list(logs)}"
            )
        return model

    @property
    def direction(self):
        """Whether the best value of the monitor is the `"min"` or the `"max"`."""
        is_error = (self.monitor or "").endswith(("loss", "error"))
        return "min" if is_error else "max"

    @property
    def classes(self):
        """The `Classes` that read targets."""
        return Classes(self.num_classes)

    @property
    def labels(self):
        """The training samples' class indices, `(samples,)`."""
        return self.classes.groups_of_array(self.train[1])

    @property
    def validation_labels(self):
        """The validation samples' class indices, `(samples,)`."""
        return self.classes.groups_of_array(self.validation[1])

    def targets_like(self, labels):
        """Class indices in the form of the training targets."""
        return self.classes.like(labels, self.train[1])

    @property
    def continuous_inputs(self):
        """The training inputs. Raises `NotApplicableError` if they are not floats."""
        for array in keras.tree.flatten(self.train[0]):
            if np.asarray(array).dtype.kind != "f":
                raise NotApplicableError(
                    f"needs inputs that are floats, not {array.dtype}"
                )
        return self.train[0]


def only_loss(losses):
    """The loss of a model with one output, which may be in a list or a dict."""
    (loss,) = keras.tree.flatten(losses)
    return keras.losses.get(loss)


def takes_logits(loss):
    """Whether the loss of a model with one output takes logits."""
    loss = only_loss(loss)
    settings = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    return settings.get("from_logits", False)


def take(inputs, indices):
    """The samples of an array, or of a structure of arrays."""
    return keras.tree.map_structure(lambda array: np.asarray(array)[indices], inputs)
