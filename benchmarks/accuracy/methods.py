"""Methods to compare: the package's, the paper's, and ablations."""

from functools import partial

import keras
import numpy as np

from keras_modals import Policy, operations
from keras_modals._src.data.training_inputs import training_inputs
from keras_modals._src.evaluation.augmented import augmented
from keras_modals._src.evaluation.methods import (
    STILL,
    latents,
    population_search,
)
from keras_modals._src.evaluation.scores import balanced_accuracy
from keras_modals._src.evaluation.unlabeled import all_labels, consistent
from keras_modals._src.models.fresh_statistics import (
    BATCHES,
    normalizations,
    replace_statistics,
)
from keras_modals._src.models.learning_rate import scale_learning_rate
from keras_modals.evaluation import METHODS, Method
from keras_modals.operations import PAPER_OPERATIONS, DifferenceTransform
from keras_modals.tuners import policy_space

PAPER = {"num_views": 1, "gradient_to_encoder": True}
#: As in the paper, differences are within the sample's own class.
PAPER_MOVES = (*PAPER_OPERATIONS[:3], DifferenceTransform(donors="class"))
PRIOR = {"prior_weight": 0.01}


def _paper_space(hp):
    """Returns the paper's search space of 8 sub-policies, with its triplet weight for
    text.

    The paper's prior weight of 1 is for a discriminator whose inputs are not what the
    encoder is trained on. Here, the weight is that of `MODALS with prior`.
    """
    policy = policy_space(hp, PAPER_MOVES, repeats=2)
    return {"policy": policy, "triplet_weight": 0.03, **PRIOR, **PAPER}


class RDrop(keras.Model):
    """Trains two passes with dropout to agree (Liang et al., 2021)."""

    weight = 0.0

    def compute_loss(self, x=None, y=None, y_pred=None, *args, training=True, **kwargs):
        loss = super().compute_loss(x, y, y_pred, *args, training=training, **kwargs)
        if not training:
            return loss
        other = self(x, training=True)
        divergence = keras.losses.KLDivergence()
        both = divergence(y_pred, other) + divergence(other, y_pred)
        loss += super().compute_loss(x, y, other, *args, training=training, **kwargs)
        return 0.5 * loss + 0.25 * self.weight * both


def r_drop(trial, model, weight, dropout=0.3):
    latents = keras.layers.Dropout(dropout)(model.get_layer("latents").output)
    dropped = RDrop(model.inputs, model.get_layer("head")(latents))
    dropped.weight = weight
    dropped.compile_from_config(model.get_compile_config())
    return trial.fit(dropped)


#: Factors of the model's learning rate, from which validation chooses.
RATES = (1.0, 2.0, 4.0)


def at_rates(method, rates=RATES):
    """Returns a method with each setting at each learning rate."""
    settings = []
    for setting in method.grid:
        setting = {name: setting[name] for name in setting if name != "learning_rate"}
        if setting not in settings:
            settings.append(setting)

    def train(trial, model, learning_rate, **setting):
        scale_learning_rate(model, learning_rate)
        return method.train(trial, model, **setting)

    grid = tuple(
        {**setting, "learning_rate": rate} for setting in settings for rate in rates
    )
    return Method(train, grid, method.trainings)


_ON_CLASSES = {
    **METHODS,
    "R-Drop": Method(r_drop, ({"weight": 1.0}, {"weight": 5.0})),
    "paper's policy": Method(
        latents(policy=Policy.constant(0.5, 0.5, PAPER_MOVES), **PAPER)
    ),
    # The paper's whole method.
    "MODALS": Method(partial(population_search, space=_paper_space)),
}

#: What a reader would compare with, in the order in which each seed runs it. Searches
#: have only one learning rate, since they take as long as eight trainings.
ALL = {
    **{
        name: at_rates(_ON_CLASSES[name])
        for name in (
            "none",
            "latent mixing",
            "mixup",
            "label smoothing",
            "manifold mixup",
            "dropout",
            "latent mixing tuned",
            "input noise",
            "R-Drop",
            "triplet",
            "paper's policy",
        )
    },
    **{
        name: at_rates(_ON_CLASSES[name], rates=(2.0,))
        for name in ("one-run search", "population search", "MODALS")
    },
}
#: Methods from which validation chooses, at the settings that `compare` has.
CHOOSING = {
    name: METHODS[name]
    for name in (
        "none",
        "label smoothing",
        "mixup",
        "dropout",
        "latent mixing",
        "latent mixing tuned",
    )
}

#: Methods for several encoders on the same samples.
ENCODERS = {name: ALL[name] for name in ("none", "latent mixing")}


#: Powers of the class shares. 0 leaves the thresholds as they are.
POWERS = np.linspace(0.0, 1.5, 16)


def tuned_threshold(trial, model):
    """Trains as usual, then divides the probability of each class by a power of its
    share of the training samples. The validation samples choose the power."""
    trained = trial.fit(model)
    shares = np.bincount(trial.labels, minlength=trial.num_classes) / len(trial.labels)
    shares = np.maximum(shares, 1e-6)
    outputs = trained.predict(trial.validation[0], batch_size=500, verbose=0)
    scores = [
        balanced_accuracy(trial.validation_labels, outputs * shares**-power)
        for power in POWERS
    ]
    factors = shares ** -POWERS[np.argmax(scores)]
    outputs = trained.output * factors.astype("float32")
    total = keras.ops.sum(outputs, axis=-1, keepdims=True)
    return keras.Model(trained.input, outputs / total)


def focal_loss(trial, model, gamma):
    """Gives samples that are classified well a smaller loss (Lin et al., 2017)."""

    def loss(y, outputs):
        probability = _of_labels(y, outputs)
        return -((1.0 - probability) ** gamma) * keras.ops.log(probability)

    model.compile(model.optimizer, loss, metrics=["accuracy"])
    return trial.fit(model)


def logit_adjustment(trial, model, power):
    """Trains logits to which the logarithm of the class shares is added (Menon et al.,
    2021)."""
    counts = np.bincount(trial.labels, minlength=trial.num_classes)
    shares = (np.maximum(counts, 1) / counts.sum()).astype("float32") ** power

    def loss(y, outputs):
        outputs = keras.ops.multiply(outputs, shares)
        outputs = outputs / keras.ops.sum(outputs, axis=-1, keepdims=True)
        return -keras.ops.log(_of_labels(y, outputs))

    model.compile(model.optimizer, loss, metrics=["accuracy"])
    return trial.fit(model)


def _of_labels(y, outputs):
    """Returns the probability of the true class of each sample."""
    chosen = keras.ops.one_hot(keras.ops.reshape(y, (-1,)), outputs.shape[-1])
    return keras.ops.clip(keras.ops.sum(chosen * outputs, axis=-1), 1e-7, 1.0)


IMBALANCE = {
    **{
        name: METHODS[name]
        for name in (
            "none",
            "class weights",
            "oversampling",
            "SMOTE",
            "mixup",
            "manifold mixup",
            "latent mixing",
            "one-run search",
            "latent mixing tuned",
            "latent mixing, class weights",
            "latent mixing, oversampling",
        )
    },
    "tuned threshold": Method(tuned_threshold),
    "focal loss": Method(focal_loss, ({"gamma": 1.0}, {"gamma": 2.0})),
    "logit adjustment": Method(logit_adjustment, ({"power": 0.5}, {"power": 1.0})),
}


def _mixing(probability=0.5, magnitude=0.5, **options):
    operation = operations.get("class_mixing", options)
    return Policy({operation: (probability, magnitude)}, operation_counts=(0.0, 1.0))


def averaged_weights(trial, model):
    """Trains with latent mixing, and evaluates averaged weights."""
    model = augmented(trial, model)
    settings = model.get_compile_config()
    settings["optimizer"]["config"]["use_ema"] = True
    model.compile_from_config(settings)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    return trial.fit(model, callbacks=[swap])


#: Methods for few labels and many unlabeled samples.
UNLABELED = {
    **{
        name: METHODS[name]
        for name in (
            "none",
            "latent mixing",
            "latent mixing, unlabeled",
            "interpolation consistency",
            "pseudo-labels",
            "mean teacher",
            "all labels",
        )
    },
    "latent mixing, all labels": Method(all_labels(latents())),
    "latent mixing, averaged weights": Method(averaged_weights),
    **{
        f"consistency of {weight}, threshold {threshold}": Method(
            consistent(), ({"weight": float(weight), "threshold": threshold},)
        )
        for weight, threshold in (
            (1, None),
            (3, None),
            (1, 0.6),
            (1, 0.8),
            (1, 0.95),
            (3, 0.6),
        )
    },
}


class _FreshStatistics(keras.callbacks.Callback):
    """Replaces the statistics of a plain model, as a `ModalsModel` does."""

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def on_test_begin(self, logs=None):
        replace_statistics(self.model, normalizations(self.model), self._batches)


def fresh_statistics(trial, model):
    """Trains as usual, with the statistics of batch normalization that a `ModalsModel`
    has."""
    data = {"x": trial.arrays[0], "batch_size": trial.batch_size}
    callback = _FreshStatistics(training_inputs(data, BATCHES))
    return trial.fit(model, callbacks=[callback])


#: Candidates for the package's defaults, in the study `tuning`.
CANDIDATES = {
    "none": METHODS["none"],
    "none, fresh statistics": Method(fresh_statistics),
    "none, rate 2": Method(latents(**STILL), ({"learning_rate": 2.0},)),
    "label smoothing": Method(METHODS["label smoothing"].train, ({"smoothing": 0.1},)),
    "dropout": Method(latents(**STILL), ({"dropout": 0.3},)),
    # The better of its two values of alpha over three seeds.
    "mixup": Method(
        METHODS["mixup"].train,
        tuple({"alpha": 0.2, "learning_rate": rate} for rate in (1.0, 2.0)),
    ),
    "manifold mixup": METHODS["manifold mixup"],
    **{
        name: Method(latents(**{"layer": "auto", **arguments}))
        for name, arguments in {
            "latent mixing": {},
            "latent mixing, head": {"layer": "head"},
            "latent mixing, input": {"layer": "input"},
            "latent mixing, no warm-up": {"warmup_steps": 0},
            "latent mixing, warm-up 200": {"warmup_steps": 200},
            "latent mixing, triplets": {"triplet_weight": 0.1},
            "latent mixing, dropout": {"dropout": 0.3},
            "latent mixing, triplets and dropout": {
                "triplet_weight": 0.1,
                "dropout": 0.3,
            },
            "latent mixing, two views": {"num_views": 2, "policy": _mixing(1.0)},
            "latent mixing, all rows": {"policy": _mixing(1.0)},
            "latent mixing, balanced": {"policy": _mixing(partners="balanced")},
            "latent mixing, few rows": {"policy": _mixing(0.3)},
            "latent mixing, rate 2": {"learning_rate": 2.0},
        }.items()
    },
    "latent mixing tuned": METHODS["latent mixing tuned"],
}

#: Methods for targets other than classes, except where a method does not apply. The
#: defaults also run at twice the learning rate, since rivals that mix may choose it.
TARGETS = {
    **{
        name: METHODS[name]
        for name in (
            "none",
            "latent mixing",
            "mixup",
            "C-Mixup",
            "dropout",
            "label smoothing",
        )
    },
    **{name: CANDIDATES[name] for name in ("none, rate 2", "latent mixing, rate 2")},
}
