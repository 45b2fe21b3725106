"""Statistics of batch normalization that fit the current weights and clean samples."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_modals._src import backend
from keras_modals._src.data.training_inputs import num_rows, training_inputs
from keras_modals._src.layers.step_scope import StepScope
from keras_modals._src.models.graph import attributes

#: Maximum number of batches over which statistics are estimated.
BATCHES = 10


class FreshStatistics(keras.callbacks.Callback):
    """Replaces moving averages of batch normalization at the end of each epoch.

    A moving average lags behind the weights. A plain model hardly changes once it fits
    its training samples, but a model that never sees the same mixed sample twice
    changes to the end, and its averages are those of other weights and of mixed
    samples. They are replaced by means over batches of clean training samples, before
    the epoch's validation. Training does not use them.

    Nothing is replaced while no policy moves anything. If the samples cannot be read
    twice, a warning is issued.

    Args:
        model: The `ModalsModel`.
        arguments: Dict of the arguments of `fit`.
    """

    def __init__(self, model, arguments):
        super().__init__()
        self._training, self._arguments = model, arguments
        self._batches = None
        self._is_due = False

    @property
    def weights_are_averaged(self):
        """Whether the optimizer averages weights for inference."""
        optimizer = getattr(self._training, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        parts = getattr(optimizer, "optimizers", [optimizer])
        return any(getattr(part, "use_ema", False) for part in parts)

    def on_train_begin(self, logs=None):
        # A reader that keeps its workers must not start again in the middle.
        self._layers_to_replace()

    def on_epoch_begin(self, epoch, logs=None):
        self._is_due = True

    def on_test_begin(self, logs=None):
        self._replace_once()

    def on_epoch_end(self, epoch, logs=None):
        self._replace_once()

    def _replace_once(self):
        if self._is_due:
            self._is_due = False
            self.replace()

    def replace(self):
        """Replaces the statistics by those of the current weights."""
        layers = self._layers_to_replace()
        if layers and self._batches:
            replace_statistics(self._training, layers, self._batches)

    def _layers_to_replace(self):
        layers = normalizations(self._training)
        if not layers or not _moves(self._training):
            return []
        if self._batches is None:
            self._batches = training_inputs(
                self._arguments, BATCHES, self._training.preprocessor
            )
            if not self._batches:
                warnings.warn(
                    "Batch normalization predicts with moving averages, which lag "
                    "behind weights that augmentation keeps changing. `fit` replaces "
                    "them after each epoch if it can read the samples twice: pass "
                    "arrays, a `keras.utils.PyDataset`, a `tf.data.Dataset`, or a "
                    f"`DataLoader`. Received: x={self._arguments.get('x')!r}",
                    stacklevel=2,
                )
        return layers


def replace_statistics(model, layers, batches):
    """Replaces moving averages by means over batches of clean samples.

    Other variables, such as the states of random generators, are kept.

    Args:
        model: A `keras.Model`.
        layers: The `keras.layers.BatchNormalization` layers of `model`.
        batches: List of inputs.
    """
    statistics = [layer.moving_mean for layer in layers]
    statistics += [layer.moving_variance for layer in layers]
    # Pairs of a value and a number of rows, for each variable.
    values: list[list] = [[] for _ in statistics]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        for inputs in batches:
            with _Updates() as updates, StepScope(None), backend.without_gradients():
                model(inputs, training=True)
            for pairs, variable in zip(values, statistics, strict=True):
                for value in updates.of(variable):
                    pairs.append((ops.convert_to_numpy(value), num_rows(inputs)))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for pairs, variable in zip(values, statistics, strict=True):
        if pairs:
            found, rows = zip(*pairs, strict=True)
            variable.assign(np.average(found, axis=0, weights=rows))


class _Updates(keras.StatelessScope):
    """Keeps all updates of variables, and applies none."""

    def __init__(self):
        super().__init__()
        self._values = {}

    def add_update(self, update):
        variable, value = update
        self._values.setdefault(id(variable), []).append(value)
        super().add_update(update)

    def of(self, variable):
        """List of the values that were assigned to a variable."""
        return self._values.get(id(variable), [])


def normalizations(model):
    """Returns the trained batch normalizations of a model, also those inside layers."""
    found, seen, waiting = [], set(), [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen or not isinstance(layer, keras.layers.Layer):
            continue
        seen.add(id(layer))
        waiting += attributes(layer)
        is_normalization = isinstance(layer, keras.layers.BatchNormalization)
        if is_normalization and layer.built and layer.trainable:
            found.append(layer)
    # Renormalization has further statistics.
    return [layer for layer in found if not getattr(layer, "renorm", False)]


def _moves(model):
    """Whether a policy moves samples now."""
    return any(
        ops.convert_to_numpy(layer.probabilities * layer.magnitudes).any()
        for layer in model.latent_augmentations
    )
