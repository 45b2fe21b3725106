"""What a comparison compares: ways to train a model on few samples.

A method is a `fn(trial, model, **setting)` that trains a compiled model and returns the
one to test, with a small grid of settings to choose from on validation data.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_modals._src.evaluation.trial import (
    NotApplicableError,
    check_compiled,
    compile_settings,
    knows_own_objects,
    only_loss,
    take,
)
from keras_modals._src.models.augment import augment
from keras_modals._src.models.graph import plain
from keras_modals._src.operations import PAPER_OPERATIONS
from keras_modals._src.operations.mixing import Mixing
from keras_modals._src.policies.policy import Policy
from keras_modals._src.search.member_graph import START
from keras_modals._src.search.shared_encoder_search import SharedEncoderSearch


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        train: `fn(trial, model, **setting)`: trains the compiled `model` by
            `trial.fit` and returns the model to test. Raises `NotApplicableError` where
            it makes no sense.
        grid: The settings to choose from on validation data, dicts of keyword
            arguments.
    """

    train: Callable[..., Any]
    grid: tuple[dict, ...] = ({},)


def grid(**values):
    """One setting for each value of one argument."""
    ((name, options),) = values.items()
    return tuple({name: option} for option in options)


# Without latents ---------------------------------------------------------------


def none(trial, model):
    return trial.fit(model)


def label_smoothing(trial, model, smoothing):
    _compile_for_soft_labels(model)
    shares = trial.classes.shares(trial.train[1])
    soft = shares * (1 - smoothing) + smoothing / trial.num_classes
    return _fit_soft(trial, model, trial.train[0], _as_targets(model, soft))


def input_noise(trial, model, deviation):
    """Gaussian noise on inputs, in units of the standard deviation of all of them."""
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
    """Weighs a sample's loss by the rarity of its class."""
    counts = np.bincount(trial.labels)
    present = np.flatnonzero(counts)
    weights = len(trial.labels) / (len(present) * counts[present])
    pairs = zip(present.tolist(), weights.tolist(), strict=True)
    return trial.fit(model, class_weight=dict(pairs))


def oversampling(trial, model):
    """Repeats samples of rare classes until all are as frequent."""
    labels = trial.labels
    rng = np.random.default_rng(trial.seed)
    counts = np.bincount(labels)
    added = [
        rng.choice(np.flatnonzero(labels == label), counts.max() - count)
        for label, count in enumerate(counts)
        if count
    ]
    chosen = np.concatenate([np.arange(len(labels)), *added])
    return trial.fit(model, *take(trial.train, chosen))


def smote(trial, model):
    """Adds points between neighbours of rare classes (Chawla et al., 2002)."""
    from imblearn.over_sampling import SMOTE

    x, labels = trial.continuous_inputs, trial.labels
    least = np.bincount(labels)[np.unique(labels)].min()
    if keras.tree.is_nested(x) or np.asarray(x).ndim != 2:
        raise NotApplicableError("needs one input of rank 2, a table")
    if least < 2:
        raise NotApplicableError("needs two samples of every class")
    sampler = SMOTE(random_state=trial.seed, k_neighbors=min(5, least - 1))
    x, labels = sampler.fit_resample(x, labels)
    return trial.fit(model, x, trial.targets_like(labels))


def _compile_for_soft_labels(model):
    """Compiles a model anew for targets that are shares of classes."""
    loss = only_loss(model.loss)
    name = getattr(loss, "name", getattr(loss, "__name__", loss))
    if name == "sparse_categorical_crossentropy":
        settings = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
        shared = ("from_logits", "reduction")
        loss = keras.losses.CategoricalCrossentropy(
            **{key: settings[key] for key in shared if key in settings}
        )
        _recompile(
            model,
            loss=keras.losses.serialize(loss),
            metrics=_metrics_of_shares(model.get_compile_config()["metrics"]),
        )
    elif name not in ("categorical_crossentropy", "binary_crossentropy"):
        raise NotApplicableError(f"needs a crossentropy, not the loss {name}")


def _metrics_of_shares(metrics):
    """Metrics of class indices as such of shares of classes, under the same names;
    others are left out."""
    if isinstance(metrics, dict):
        (metrics,) = metrics.values()
    found = []
    for metric in metrics or []:
        if metric in ("accuracy", "acc"):
            found.append(metric)
            continue
        metric = keras.metrics.get(metric)
        if type(metric) in _OF_SHARES:
            of_shares = _OF_SHARES[type(metric)](name=metric.name)
            found.append(keras.metrics.serialize(of_shares))
    return found


_OF_SHARES = {
    keras.metrics.SparseCategoricalAccuracy: keras.metrics.CategoricalAccuracy,
    keras.metrics.SparseCategoricalCrossentropy: keras.metrics.CategoricalCrossentropy,
}


def _recompile(model, **changes):
    """Compiles a model as it was, but for what is changed."""
    model.compile_from_config({**compile_settings(model), **changes})


def _as_targets(model, shares):
    """Shares of classes, as the model's output is: of two classes maybe the second."""
    return shares[:, 1:] if model.output_shape[-1] == 1 else shares


def _fit_soft(trial, model, *data):
    x, targets = trial.validation
    shares = trial.classes.shares(targets)
    validation = (x, _as_targets(model, shares))
    return trial.fit(model, *data, validation_data=validation)


# In the latent space ------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class BetaMixing(Mixing):
    """Mixing with a share that is Beta distributed, as in the papers on mixup.

    Args:
        alpha: Positive float, both parameters of the distribution.
    """

    name: ClassVar[str] = "beta_mixing"

    alpha: float = 1.0

    def share(self, magnitude, uniform):
        # Its quantiles, as a polyline.
        last = len(_quantiles(self.alpha)) - 1
        place = uniform * last
        low = ops.floor(place)
        index = ops.cast(low, "int32")
        values = ops.convert_to_tensor(_quantiles(self.alpha))
        ends = [ops.take(values, ops.minimum(index + i, last)) for i in range(2)]
        return magnitude * (ends[0] + (place - low) * (ends[1] - ends[0]))


@functools.cache
def _quantiles(alpha, size=1025):
    draws = np.random.default_rng(0).beta(alpha, alpha, 400_000)
    return np.quantile(draws, np.linspace(0, 1, size)).astype("float32")


def mixup(trial, model, alpha, learning_rate=1.0):
    """Mixes inputs, or the embeddings of token numbers, and labels of two samples
    (Zhang et al., 2018)."""
    return _beta_mixed(trial, model, "input", alpha, learning_rate)


def manifold_mixup(trial, model, alpha, learning_rate=1.0):
    """The same at a depth drawn for each step (Verma et al., 2019)."""
    layer = trial.layer or "auto"
    return _beta_mixed(trial, model, layer, alpha, learning_rate)


def _beta_mixed(trial, model, layer, alpha, learning_rate):
    policy = Policy({BetaMixing(alpha=alpha): (1.0, 1.0)}, (0.0, 1.0))
    trial = dataclasses.replace(trial, layer=layer)
    train = latents(policy=policy, warmup_steps=0, learning_rate=learning_rate)
    return train(trial, model)


def latents(**arguments):
    """A method that trains `augmented(trial, model, **arguments)`, with further
    arguments from its setting."""

    def train(trial, model, **setting):
        return trial.fit(augmented(trial, model, **{**arguments, **setting}))

    return train


def augmented(trial, model, operation=None, magnitude=None, **arguments):
    """`augment(model, **arguments)`, with one operation or a `policy`, with weights of
    losses, and with the learning rate times `learning_rate`.

    Where the comparison has a `layer`, that is the place. Otherwise the defaults find
    theirs, and a policy of its own has the head's input.
    """
    if operation is not None:
        arguments["policy"] = Policy.single(operation, magnitude)
    weights = {
        name: arguments.pop(name)
        for name in ("triplet_weight", "prior_weight")
        if name in arguments
    }
    factor = arguments.pop("learning_rate", 1.0)
    if factor != 1.0:
        model.optimizer.learning_rate = factor * float(model.optimizer.learning_rate)
    layer = "auto" if "policy" not in arguments else "head"
    layer = trial.layer or arguments.pop("layer", layer)
    arguments.pop("layer", None)
    model = augment(model, layer, trial.num_classes, seed=trial.seed, **arguments)
    check_compiled(model)
    if weights:
        _recompile(model, **weights)
    return model


#: What to choose among on validation data: the defaults, with a clean view of every
#: sample beside the mixed one, at the input alone, with dropout and triplets beside the
#: mixing, and with twice the learning rate.
RECIPES: tuple[dict, ...] = (
    {},
    {"num_views": 2},
    {"layer": "input"},
    {"dropout": 0.3, "triplet_weight": 0.1},
    {"learning_rate": 2.0},
)


def beside(remedy):
    """Latent mixing, with a remedy for rare classes."""

    def train(trial, model):
        return remedy(trial, augmented(trial, model))

    return train


def random_policy(trial, model):
    policy = Policy.random(trial.seed)
    return trial.fit(augmented(trial, model, policy=policy, num_views=4))


def one_run_search(trial, model):
    model = augmented(trial, model, layer="auto", **START)
    search = SharedEncoderSearch(model, seed=trial.seed)
    return trial.fit(search).best_model()


def _searched(hp):
    from keras_modals._src import tuners

    return {
        "policy": tuners.policy_space(hp, repeats=1),
        "num_views": 2,
        "dropout": hp.Float("dropout", 0.0, 0.9, step=0.1),
    }


def population_search(trial, model, population_size=8, space=_searched):
    """Whole trainings of a population, in turn, on Keras Tuner, each
    `augmented(trial, model, **space(hp))`. Members are scored, and may be the best, at
    the end of each generation, by the validation loss where there is no monitor."""
    import keras_tuner

    from keras_modals._src import tuners

    compiling = compile_settings(model)
    if trial.monitor is None:
        trial = dataclasses.replace(trial, monitor="val_loss")
    epochs = _divisor(trial.epochs, near=3)

    def build(hp):
        # The tuner leaves all scopes before it builds.
        with knows_own_objects(model):
            clone = keras.models.clone_model(model)
            clone.set_weights(model.get_weights())
            member = augmented(trial, clone, **space(hp))
            member.compile_from_config(compiling)
        return member

    with tempfile.TemporaryDirectory() as folder:
        tuner = tuners.PopulationBasedTuner(
            build,
            keras_tuner.Objective(trial.monitor, trial.direction),
            population_size=population_size,
            generations=trial.epochs // epochs,
            epochs_per_generation=epochs,
            # As it was measured for README.md and docs/evidence.md.
            smoothing=0.0,
            seed=trial.seed,
            directory=folder,
        )
        tuner.search(
            *trial.train,
            validation_data=trial.validation,
            batch_size=trial.batch_size,
            verbose=0,
            **trial.fit_arguments,
        )
        return tuner.get_best_models(1)[0]


def _divisor(number, near):
    divisors = (n for n in range(1, number + 1) if number % n == 0)
    return min(divisors, key=lambda n: abs(n - near))


#: What every `LatentAugmentation` without moves is: the identity.
STILL = {"policy": Policy.zero(repeats=1), "num_views": 1}
#: Of the rivals that mix: the papers' shares, and a larger learning rate as well.
_SHARES = tuple(
    {"alpha": alpha, "learning_rate": factor}
    for alpha in (0.2, 1.0)
    for factor in (1.0, 2.0)
)

#: Name to `Method`, of everything that `compare` knows.
METHODS = {
    "none": Method(none),
    "label smoothing": Method(label_smoothing, grid(smoothing=(0.1, 0.2))),
    "input noise": Method(input_noise, grid(deviation=(0.05, 0.2))),
    "mixup": Method(mixup, _SHARES),
    "dropout": Method(latents(**STILL), grid(dropout=(0.3, 0.6))),
    "manifold mixup": Method(manifold_mixup, _SHARES),
    "class weights": Method(class_weights),
    "oversampling": Method(oversampling),
    "SMOTE": Method(smote),
    "triplet": Method(latents(**STILL), grid(triplet_weight=(0.1, 0.3))),
    "prior": Method(latents(**STILL), grid(prior_weight=(0.003, 0.03))),
    **{
        operation.replace("_", " "): Method(
            latents(operation=operation, num_views=4), grid(magnitude=(0.4,))
        )
        for operation in PAPER_OPERATIONS
    },
    "latent mixing": Method(latents()),
    "latent mixing tuned": Method(latents(), RECIPES),
    "latent mixing, class weights": Method(beside(class_weights)),
    "latent mixing, oversampling": Method(beside(oversampling)),
    "random policy": Method(random_policy),
    "one-run search": Method(one_run_search),
    "population search": Method(population_search),
}
