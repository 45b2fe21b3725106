"""Statistics of batch normalization that fit the current weights and clean samples."""

import itertools
import math
import operator
import warnings
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_modals._src.data.preprocessed import as_arrays, preprocess
from keras_modals._src.data.sources import length_of, to_numpy
from keras_modals._src.layers.step_scope import StepScope
from keras_modals._src.models.graph import attributes

#: Number of batches over which statistics are estimated.
BATCHES = 10


class FreshStatistics(keras.callbacks.Callback):
    """Replaces moving averages of batch normalization at the end of each epoch.

    A moving average lags behind the weights. A plain model hardly changes once it fits
    its training samples, but a model that never sees the same mixed sample twice
    changes to the end, and its averages are those of other weights and of mixed
    samples. They are replaced by means over batches of clean training samples, before
    the epoch's validation. Training does not use them, so it is not changed.

    Nothing is replaced if no policy moves anything. If the samples are a generator,
    which cannot be read twice, a warning is issued.

    Args:
        model: The `ModalsModel`.
        arguments: Dict of the arguments of `fit`.
    """

    def __init__(self, model, arguments):
        super().__init__()
        self._training, self._arguments = model, arguments
        self._batches = self._is_due = None

    @property
    def weights_are_averaged(self):
        """Whether other weights than those in training are for inference."""
        optimizer = self._training.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        parts = getattr(optimizer, "optimizers", [optimizer])
        return any(getattr(part, "use_ema", False) for part in parts)

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
        layers = normalizations(self._training)
        if not layers or not _moves(self._training):
            return
        if self._batches is None:
            preprocessor = self._training.preprocessor
            self._batches = inputs_for(self._arguments, preprocessor)
            if not self._batches:
                warnings.warn(
                    "Batch normalization predicts with moving averages, which lag "
                    "behind weights that augmentation keeps changing. They are "
                    "replaced after each epoch, but a generator cannot be read twice. "
                    "Pass arrays, a `keras.utils.PyDataset`, or a `tf.data.Dataset`. "
                    f"Received: x={self._arguments['x']!r}",
                    stacklevel=2,
                )
        if self._batches:
            replace_statistics(self._training, layers, self._batches)


def replace_statistics(model, layers, batches):
    """Replaces moving averages by means over batches of clean samples.

    Args:
        model: A `keras.Model`. Its other variables, such as the states of random
            generators, are kept.
        layers: The `keras.layers.BatchNormalization` layers of `model`.
        batches: List of inputs.
    """
    statistics = [layer.moving_mean for layer in layers]
    statistics += [layer.moving_variance for layer in layers]
    known = {id(variable) for variable in statistics}
    others = [
        (variable, np.array(ops.convert_to_numpy(variable)))
        for layer in model.layers
        for variable in layer.non_trainable_variables
        if id(variable) not in known
    ]
    momenta = [layer.momentum for layer in layers]
    means = [np.zeros(variable.shape) for variable in statistics]
    try:
        for layer in layers:
            layer.momentum = 0.0
        for inputs in batches:
            with StepScope(None):
                model(inputs, training=True)
            for mean, variable in zip(means, statistics, strict=True):
                mean += ops.convert_to_numpy(variable) / len(batches)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for variable, value in (*zip(statistics, means, strict=True), *others):
        variable.assign(value)


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
        # Renormalization has further statistics.
        if is_normalization and layer.trainable and not getattr(layer, "renorm", False):
            found.append(layer)
    return found


def _moves(model):
    """Whether a policy moves samples now."""
    return any(
        ops.convert_to_numpy(layer.probabilities * layer.magnitudes).any()
        for layer in model.latent_augmentations
    )


def inputs_for(arguments, preprocessor=None):
    """Returns a list of batches of training inputs, empty if samples are a generator.

    Args:
        arguments: As in `FreshStatistics`.
        preprocessor: As in `PreprocessingModel`.
    """
    x = arguments.get("x")
    batches: Iterable
    if hasattr(x, "__next__"):
        return []
    if isinstance(x, keras.utils.PyDataset):
        count = length_of(x)
        indices = range(BATCHES if count is None else min(count, BATCHES))
        batches = (_inputs_of(x[index]) for index in indices)
    elif isinstance(x, (list, tuple, dict)) or hasattr(x, "shape"):
        x = x if preprocessor is None else as_arrays(x)
        size, split = arguments.get("batch_size"), arguments.get("validation_split")
        batches = _of_arrays(x, size or 32, split or 0.0)
    else:
        batches = map(_inputs_of, itertools.islice(x, BATCHES))
    if preprocessor is not None:
        made = preprocess(preprocessor)
        batches = (_inputs_of(made(batch)) for batch in batches)
    return [keras.tree.map_structure(to_numpy, batch) for batch in batches]


def _of_arrays(x, batch_size, validation_split):
    """Yields batches of random rows, without those that `fit` splits off."""
    arrays = keras.tree.map_structure(to_numpy, x)
    count = len(keras.tree.flatten(arrays)[0])
    rows = np.random.default_rng(0).permutation(
        math.floor(count * (1.0 - validation_split))
    )
    for index in range(min(BATCHES, max(1, len(rows) // batch_size))):
        taken = rows[index * batch_size : (index + 1) * batch_size]
        yield keras.tree.map_structure(operator.itemgetter(taken), arrays)


def _inputs_of(batch):
    return keras.utils.unpack_x_y_sample_weight(batch)[0]
