"""One training of a comparison: its data, and the fitting of a model."""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_modals._src.data.joined import join_unlabeled
from keras_modals._src.evaluation.compiled import check_compiled
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.samples import (
    is_dataset,
    shuffles_itself,
    targets_of,
)
from keras_modals._src.labels import Classes

#: Endings of the names of logs for which lower is better.
_ERRORS = ("loss", "error", "mae", "mse", "mape", "msle")


@dataclass
class Trial:
    """The data and settings of one training, passed to a method with the model.

    Attributes:
        train: A pair of inputs and targets, or a dataset of batches of such pairs.
        validation: The same for the validation samples.
        unlabeled: Inputs without targets, or a tuple of inputs and their true targets;
            `None` if there are none.
        kind: The kind of labels; `kind.labels` is the `labels` argument of
            `keras_modals.augment`.
        seed: Integer.
        epochs: Integer, as in `fit`.
        batch_size: Integer, as in `fit`.
        layer: Where to augment, as in `keras_modals.augment`; `None` if each method
            uses its own place.
        monitor: Name of the log that determines the best epoch, whose weights are
            restored, or `None`. Lower is better if the name ends with "loss" or
            "error", or names an error metric of Keras, such as "mae".
        fit_arguments: Further arguments of `fit`.
    """

    train: tuple
    validation: tuple
    kind: Any
    seed: int
    epochs: int
    batch_size: int
    layer: str | None = None
    monitor: str | None = None
    fit_arguments: dict[str, Any] = field(default_factory=dict)
    unlabeled: Any = None

    def fit(self, model, *data, **arguments):
        """Fits a model, and returns it with the weights of its best epoch.

        Args:
            model: A compiled model.
            *data: Data for `fit` that replace the training samples.
            **arguments: Further arguments of `fit`, such as `class_weight`.
        """
        check_compiled(model)
        settings = {
            "validation_data": self.validation,
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
        data = data or ((self.train,) if self.has_dataset else self.train)
        if len(data) == 2:
            settings |= {"batch_size": self.batch_size, "validation_batch_size": 500}
        elif shuffles_itself(data[0]):
            # Otherwise, Keras would warn.
            settings.setdefault("shuffle", False)
        logs = model.fit(*data, **settings).history
        if self.monitor is not None and self.monitor not in logs:
            raise ValueError(
                f"The logs have no '{self.monitor}'. Compile the model with "
                '`metrics=["accuracy"]`, or pass another `monitor`. '
                f"Received: logs={list(logs)}"
            )
        return model

    def fit_joined(self, model):
        """Fits a model to labeled and unlabeled samples, and returns it as `fit` does.

        The weights are the averages that the optimizer keeps.
        """
        self.kind.output.check_is_only()
        data = join_unlabeled(
            self.train if self.has_dataset else tuple(self.train),
            self.unlabeled_inputs,
            self.batch_size,
            seed=self.seed,
        )
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        others = keras.tree.flatten(self.fit_arguments.get("callbacks") or [])
        return self.fit(model, data, callbacks=[*others, swap])

    @property
    def has_dataset(self):
        """Whether the training samples come from a dataset."""
        return is_dataset(self.train)

    @property
    def arrays(self):
        """The training samples' inputs and targets. Raises `NotApplicableError` if they
        come from a dataset."""
        if self.has_dataset:
            raise NotApplicableError("needs arrays, not a dataset")
        return self.train

    @property
    def targets(self):
        """The training samples' targets."""
        return targets_of(self.train, self.kind.output)

    @property
    def unlabeled_inputs(self):
        """The inputs without labels. Raises `NotApplicableError` if there are none."""
        if self.unlabeled is None:
            raise NotApplicableError("needs samples without labels")
        return self.unlabeled[0] if _is_pair(self.unlabeled) else self.unlabeled

    @property
    def unlabeled_targets(self):
        """The true targets of inputs without labels. Raises `NotApplicableError` if
        they are unknown."""
        if not _is_pair(self.unlabeled):
            raise NotApplicableError("needs the true labels of samples without labels")
        return self.unlabeled[1]

    @property
    def direction(self):
        """Whether the best value of the monitor is the `"min"` or the `"max"`."""
        is_error = (self.monitor or "").endswith(_ERRORS)
        return "min" if is_error else "max"

    @property
    def classes(self):
        """The `Classes` that read targets. Raises `NotApplicableError` for other kinds
        of labels."""
        self._check_classes()
        return self.kind.labels

    @property
    def num_classes(self):
        """The number of classes."""
        return self.classes.num_classes

    @property
    def labels(self):
        """The training samples' class indices, `(samples,)`."""
        self._check_classes()
        return self.kind.groups(self.targets)

    @property
    def validation_labels(self):
        """The validation samples' class indices, `(samples,)`."""
        self._check_classes()
        return self.kind.groups(targets_of(self.validation, self.kind.output))

    def _check_classes(self):
        if not isinstance(self.kind.labels, Classes):
            raise NotApplicableError("needs one class for each sample")

    def targets_like(self, labels):
        """Converts class indices to the format of the training targets."""
        return self.classes.like(labels, self.targets)

    @property
    def continuous_inputs(self):
        """The training inputs. Raises `NotApplicableError` if they are not floats."""
        inputs = self.arrays[0]
        for array in keras.tree.flatten(inputs):
            if np.asarray(array).dtype.kind != "f":
                raise NotApplicableError(
                    f"needs inputs that are floats, not {array.dtype}"
                )
        return inputs


def _is_pair(unlabeled):
    return isinstance(unlabeled, tuple)
