"""The methods of a comparison: ways to train a model on few samples.

A method is a `fn(trial, model, **setting)` that trains a compiled model and returns the
model to test. Its small grid of settings is searched on validation data.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_modals._src.evaluation.augmented import (
    beside,
    latents,
    one_run_search,
    population_search,
    random_policy,
)
from keras_modals._src.evaluation.mixing import c_mixup, manifold_mixup, mixup
from keras_modals._src.evaluation.rivals import (
    class_weights,
    input_noise,
    label_smoothing,
    none,
    oversampling,
    smote,
)
from keras_modals._src.evaluation.unlabeled import all_labels, consistent, of_classes
from keras_modals._src.operations import PAPER_OPERATIONS
from keras_modals._src.policies.policy import Policy


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train a model, for `compare`.

    Attributes:
        train: `fn(trial, model, **setting)` that trains the compiled `model` with
            `trial.fit` and returns the model to test. It raises `NotApplicableError` if
            the method does not apply.
        grid: Tuple of settings to choose from on validation data, dicts of keyword
            arguments.
        trainings: Integer, the approximate cost of a run in plain trainings, for the
            estimate of the total time.
    """

    train: Callable[..., Any]
    grid: tuple[dict, ...] = ({},)
    trainings: int = 1


def grid(**values):
    """Returns one setting for each value of one argument."""
    ((name, options),) = values.items()
    return tuple({name: option} for option in options)


#: Arguments that turn `LatentAugmentation` into the identity.
STILL = {"policy": Policy.zero(repeats=1), "num_views": 1}
#: Mixes unlabeled samples only.
UNMIXED = Policy({"class_mixing": (0.0, 0.5)}, operation_counts=(0.0, 1.0))
#: Settings of the mixup methods: the papers' shares, with one or two learning rates.
_SHARES = tuple(
    {"alpha": alpha, "learning_rate": factor}
    for alpha in (0.2, 1.0)
    for factor in (1.0, 2.0)
)

#: Recipes to choose from on validation data: the defaults, a clean view of every sample
#: in addition to the mixed one, mixing at the input only, dropout and triplets in
#: addition to mixing, and twice the learning rate.
RECIPES: tuple[dict, ...] = (
    {},
    {"num_views": 2},
    {"layer": "input"},
    {"dropout": 0.3, "triplet_weight": 0.1},
    {"learning_rate": 2.0},
)

_MIXING = latents()

#: Dict from names to `Method`s: all methods of `compare`.
METHODS = {
    "none": Method(none),
    "label smoothing": Method(label_smoothing, grid(smoothing=(0.1, 0.2))),
    "input noise": Method(input_noise, grid(deviation=(0.05, 0.2))),
    "mixup": Method(mixup, _SHARES),
    "dropout": Method(latents(**STILL), grid(dropout=(0.3, 0.6))),
    "manifold mixup": Method(manifold_mixup, _SHARES),
    # Widths of the Gaussian kernel, in standard deviations of the targets.
    "C-Mixup": Method(c_mixup, grid(bandwidth=(0.1, 0.3, 1.0))),
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
    "latent mixing": Method(_MIXING),
    "latent mixing tuned": Method(_MIXING, RECIPES),
    "latent mixing, class weights": Method(beside(class_weights)),
    "latent mixing, oversampling": Method(beside(oversampling)),
    "random policy": Method(random_policy),
    "latent mixing, unlabeled": Method(
        consistent(),
        (
            {"weight": 1.0, "threshold": 0.8},
            {"weight": 1.0},
            {"weight": 3.0},
        ),
    ),
    "interpolation consistency": Method(
        consistent(policy=UNMIXED, layer="input"), grid(weight=(1.0, 3.0))
    ),
    "pseudo-labels": Method(
        of_classes(consistent(**STILL)), grid(threshold=(0.8, 0.95))
    ),
    "mean teacher": Method(consistent(dropout=0.3, **STILL), grid(weight=(1.0, 3.0))),
    "all labels": Method(all_labels(none)),
    "one-run search": Method(one_run_search, trainings=2),
    "population search": Method(population_search, trainings=8),
}
