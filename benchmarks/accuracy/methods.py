"""What is compared: the package's methods, the paper's, and parts left out."""

from functools import partial

import keras
import numpy as np

from keras_modals import Policy, SharedEncoderSearch
from keras_modals._src.evaluation.methods import (
    STILL,
    augmented,
    latents,
    population_search,
    triplet_by_classes,
)
from keras_modals._src.evaluation.scores import balanced_accuracy
from keras_modals.evaluation import METHODS, Method
from keras_modals.operations import PAPER_OPERATIONS, DifferenceTransform
from keras_modals.tuners import policy_space

#: The package's defaults up to `tuning.csv`, which `METHODS` has as the difference
#: transform.
FORMER = {"policy": Policy.single("difference_transform", 0.4), "num_views": 4}
PAPER = {"num_views": 1, "gradient_to_encoder": True}
#: As in the paper, a difference is of the sample's own class.
PAPER_MOVES = (*PAPER_OPERATIONS[:3], DifferenceTransform(donors="class"))
TRIPLET, PRIOR = {"triplet_weight": 0.3}, {"prior_weight": 0.01}


def _paper_space(hp):
    """What the paper searches, 8 sub-policies, beside its triplet weight for text. Its
    prior weight of 1 is for a discriminator that sees something else than what the
    encoder is trained on: here it is that of `MODALS with prior`."""
    policy = policy_space(hp, PAPER_MOVES, repeats=2)
    return {"policy": policy, "triplet_weight": 0.03, **PRIOR, **PAPER}


def _mixing(magnitude=1.0, **others):
    policy = Policy(
        {"class_mixing": (1.0, magnitude), **others}, operation_counts=(0.0, 1.0)
    )
    return {"policy": policy, "num_views": 2, "gradient_to_encoder": True}


_OTHERS = {
    "MODALS with triplet": Method(latents(**TRIPLET)),
    "MODALS with prior": Method(latents(**PRIOR)),
    "MODALS with triplet and prior": Method(latents(**TRIPLET, **PRIOR)),
    "paper's policy": Method(
        latents(policy=Policy.constant(0.5, 0.5, PAPER_MOVES), **PAPER)
    ),
    "paper's method": Method(partial(population_search, space=_paper_space)),
}

#: In the order in which they are run, seed by seed.
_ORDER = (
    "none",
    "MODALS",
    "one-run search",
    "dropout",
    "mixup",
    "manifold mixup",
    "label smoothing",
    "input noise",
    "MODALS tuned",
    "triplet",
    "prior",
    "MODALS with triplet",
    "MODALS with prior",
    "MODALS with triplet and prior",
    "paper's policy",
    "random policy",
    "hard interpolation",
    "hard extrapolation",
    "gaussian noise",
    "difference transform",
    "SMOTE",
    "population search",
    "paper's method",
)
ALL = {name: {**METHODS, **_OTHERS}[name] for name in _ORDER}


#: Of the classes' shares, 0 for thresholds as they are.
POWERS = np.linspace(0.0, 1.5, 16)


def tuned_threshold(trial, model):
    """Trains as ever, then divides each class's probability by a power of its share of
    the training samples: the power that is best on the validation samples."""
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
            "MODALS",
            "one-run search",
            "MODALS tuned",
            "MODALS, class weights",
            "MODALS, oversampling",
        )
    },
    "tuned threshold": Method(tuned_threshold),
}

_DIFFERENCE = (1.0, 0.4)
_BOTH = Policy(
    {"class_mixing": (1.0, 1.0), "difference_transform": _DIFFERENCE},
    operation_counts=(0.0, 0.0, 1.0),
)


def _search(*operations):
    """A one-run search that begins at `mixing, mild` with triplets by classes."""

    def train(trial, model):
        model = augmented(
            trial,
            model,
            **_mixing(0.5, **dict.fromkeys(operations, (0.0, 0.0))),
            dropout=0.0,
            **triplet_by_classes(trial),
        )
        search = SharedEncoderSearch(model, initial="policy", seed=trial.seed)
        return trial.fit(search).best_model()

    return Method(train)


def _by_classes(**arguments):
    def train(trial, model):
        return latents(**arguments, **triplet_by_classes(trial))(trial, model)

    return Method(train)


#: What the package's defaults could be, for the study `tuning`.
CANDIDATES = {
    "none": METHODS["none"],
    "label smoothing": Method(METHODS["label smoothing"].train, ({"smoothing": 0.1},)),
    "mixup": Method(METHODS["mixup"].train, ({"alpha": 1.0},)),
    "one-run search": METHODS["one-run search"],
    "search, mixing, triplet": _search(),
    "search, mixing and moves, triplet": _search(*PAPER_OPERATIONS),
    "difference, triplet by classes": _by_classes(**FORMER),
    "mixing, triplet by classes": _by_classes(**_mixing()),
    "mixing, mild, triplet by classes": _by_classes(**_mixing(0.5)),
    **{
        name: Method(latents(**arguments))
        for name, arguments in {
            "difference": FORMER,
            "difference, triplet": {**FORMER, **TRIPLET},
            "difference, dropout": {**FORMER, "dropout": 0.5},
            "difference, dropout, triplet": {**FORMER, "dropout": 0.5, **TRIPLET},
            "dropout": {**STILL, "dropout": 0.5},
            "triplet": {**STILL, **TRIPLET},
            "mixing": _mixing(),
            "mixing, one view": {**_mixing(), "num_views": 1},
            "mixing, mild": _mixing(0.5),
            "mixing, mild, dropout": {**_mixing(0.5), "dropout": 0.3},
            "mixing, dropout": {**_mixing(), "dropout": 0.5},
            "mixing, triplet": {**_mixing(), **TRIPLET},
            "mixing, dropout, triplet": {**_mixing(), "dropout": 0.5, **TRIPLET},
            "mixing or difference": _mixing(difference_transform=_DIFFERENCE),
            "mixing and difference": {**_mixing(), "policy": _BOTH},
            "mixing of the head": {
                **_mixing(),
                "num_views": 4,
                "gradient_to_encoder": False,
            },
        }.items()
    },
}
