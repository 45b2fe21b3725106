"""Ways to train without latents."""

import keras
import numpy as np

from keras_modals._src.evaluation.compiled import compile_settings
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.trial import take
from keras_modals._src.models.graph import plain
from keras_modals._src.models.hub_task import preprocessor_of


def none(trial, model):
    return trial.fit(model)


def label_smoothing(trial, model, smoothing):
    trial.kind.compile_for_shares(model)
    (x, y), (x_validation, y_validation) = trial.train, trial.validation
    validation = x_validation, trial.kind.shares(y_validation)
    soft = trial.kind.shares(y, smoothing)
    return trial.fit(model, x, soft, validation_data=validation)


def input_noise(trial, model, deviation):
    """Gaussian noise on inputs, in units of the standard deviation of all of them."""
    if preprocessor_of(model) is not None:
        raise NotApplicableError("needs inputs that no preprocessor makes")
    scales = keras.tree.map_structure(_deviation, trial.continuous_inputs)
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(tensor.shape[1:], dtype=tensor.dtype),
        plain(model).input,
    )

    def noise(tensor, scale):
        # `GaussianNoise` takes deviations up to 1.
        tensor = keras.layers.Rescaling(1 / scale)(tensor)
        tensor = keras.layers.GaussianNoise(deviation)(tensor)
        return keras.layers.Rescaling(scale)(tensor)

    noisy = keras.tree.map_structure(noise, inputs, scales)
    result = keras.Model(inputs, model(noisy))
    result.compile_from_config(compile_settings(model))
    return trial.fit(result)


def _deviation(array):
    return float(np.std(array)) or 1.0


def class_weights(trial, model):
    """Weighs what is rare more in the loss."""
    return trial.fit(model, **trial.kind.weights(trial.train[1]))


def oversampling(trial, model):
    """Repeats samples that have what is rare."""
    rng = np.random.default_rng(trial.seed)
    chosen = trial.kind.repeated(trial.train[1], rng)
    return trial.fit(model, *take(trial.train, chosen))


def smote(trial, model):
    """Adds points between neighbours of rare classes (Chawla et al., 2002)."""
    from imblearn.over_sampling import SMOTE

    x, labels = trial.continuous_inputs, trial.labels
    if keras.tree.is_nested(x) or np.asarray(x).ndim != 2:
        raise NotApplicableError("needs one input of rank 2, a table")
    if labels.min() < 0:
        raise NotApplicableError("needs a class of every sample")
    least = np.bincount(labels)[np.unique(labels)].min()
    if least < 2:
        raise NotApplicableError("needs two samples of every class")
    sampler = SMOTE(random_state=trial.seed, k_neighbors=min(5, least - 1))
    x, labels = sampler.fit_resample(x, labels)
    return trial.fit(model, x, trial.targets_like(labels))
