"""Methods that do not use latents."""

import keras
import numpy as np

from keras_modals._src.evaluation.compiled import compile_like
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.samples import (
    MappedTargets,
    is_dataset,
    is_loader,
    take,
)
from keras_modals._src.models.graph import plain
from keras_modals._src.models.hub_task import preprocessor_of


def none(trial, model):
    return trial.fit(model)


def label_smoothing(trial, model, smoothing):
    trial.kind.output.check_is_only()
    trial.kind.compile_for_shares(model)

    def soft(part, smoothing=0.0):
        def shares(targets):
            return trial.kind.shares(targets, smoothing)

        if is_dataset(part):
            if preprocessor_of(model) is not None:
                raise NotApplicableError("needs arrays, not a dataset")
            return (MappedTargets(part, shares),)
        x, y = part
        return x, shares(y)

    validation = soft(trial.validation)
    if len(validation) == 1:
        (validation,) = validation
    return trial.fit(model, *soft(trial.train, smoothing), validation_data=validation)


def input_noise(trial, model, deviation):
    """Adds Gaussian noise to inputs, in units of the standard deviation of all
    values."""
    trial.kind.output.check_is_only()
    if preprocessor_of(model) is not None:
        raise NotApplicableError("needs a model without a preprocessor")
    scales = keras.tree.map_structure(_deviation, trial.continuous_inputs)
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(tensor.shape[1:], dtype=tensor.dtype),
        plain(model).input,
    )

    def noise(tensor, scale):
        # `GaussianNoise` accepts deviations up to 1.
        tensor = keras.layers.Rescaling(1 / scale)(tensor)
        tensor = keras.layers.GaussianNoise(deviation)(tensor)
        return keras.layers.Rescaling(scale)(tensor)

    noisy = keras.tree.map_structure(noise, inputs, scales)
    result = keras.Model(inputs, model(noisy))
    compile_like(result, model)
    return trial.fit(result)


def _deviation(array):
    return float(np.std(array)) or 1.0


def class_weights(trial, model):
    """Gives rare classes or labels a larger weight in the loss."""
    trial.kind.output.check_is_only()
    if is_loader(trial.train):
        raise NotApplicableError("needs data other than a `DataLoader`")
    weights = trial.kind.weights(trial.targets)
    if trial.has_dataset and "sample_weight" in weights:
        raise NotApplicableError("needs arrays, not a dataset")
    return trial.fit(model, **weights)


def oversampling(trial, model):
    """Repeats samples of rare classes or labels."""
    rng = np.random.default_rng(trial.seed)
    x, y = trial.arrays
    chosen = trial.kind.repeated(trial.targets, rng)
    return trial.fit(model, *take((x, y), chosen))


def smote(trial, model):
    """Adds points between neighbors of rare classes (Chawla et al., 2002)."""
    trial.kind.output.check_is_only()
    from imblearn.over_sampling import SMOTE

    x, labels = trial.continuous_inputs, trial.labels
    if keras.tree.is_nested(x) or np.asarray(x).ndim != 2:
        raise NotApplicableError("needs one input of rank 2, a table")
    if labels.min() < 0:
        raise NotApplicableError("needs a class for every sample")
    least = np.bincount(labels)[np.unique(labels)].min()
    if least < 2:
        raise NotApplicableError("needs two samples of every class")
    sampler = SMOTE(random_state=trial.seed, k_neighbors=min(5, least - 1))
    x, labels = sampler.fit_resample(x, labels)
    return trial.fit(model, x, trial.targets_like(labels))
