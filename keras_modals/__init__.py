"""Modality-agnostic data augmentation in the latent space, for Keras 3."""

import importlib
from typing import TYPE_CHECKING

from keras_modals import operations, population
from keras_modals._src.callbacks.policy_scheduler import PolicyScheduler
from keras_modals._src.data.joined import join_unlabeled
from keras_modals._src.labels import Classes, MultiLabels, Positions, Values
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.latent_dropout import LatentDropout
from keras_modals._src.layers.policy_layer import DEFAULT_POLICY
from keras_modals._src.losses.triplet_selector import TripletSelector
from keras_modals._src.metrics.gaussian_distance import GaussianDistance
from keras_modals._src.models.augment import augment
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.operations.operation import Move, Operation
from keras_modals._src.policies.policy import Policy
from keras_modals._src.policies.policy_schedule import PolicySchedule
from keras_modals._src.search.shared_encoder_search import SharedEncoderSearch
from keras_modals._src.terms import (
    Consistency,
    GaussianDiscriminator,
    Prior,
    Term,
    TermLosses,
    TermStep,
    Triplets,
)
from keras_modals._src.version import __version__

if TYPE_CHECKING:
    from keras_modals import evaluation as evaluation
    from keras_modals import plots as plots
    from keras_modals import ray as ray
    from keras_modals import tuners as tuners
    from keras_modals.evaluation import compare as compare

__all__ = [
    "DEFAULT_POLICY",
    "Classes",
    "Consistency",
    "GaussianDiscriminator",
    "GaussianDistance",
    "LatentAugmentation",
    "LatentDropout",
    "ModalsModel",
    "Move",
    "MultiLabels",
    "Operation",
    "Policy",
    "PolicySchedule",
    "PolicyScheduler",
    "Positions",
    "Prior",
    "SharedEncoderSearch",
    "Term",
    "TermLosses",
    "TermStep",
    "TripletSelector",
    "Triplets",
    "Values",
    "__version__",
    "augment",
    "join_unlabeled",
    "operations",
    "population",
]


#: Names that need an extra and are slow to import, with their module and extra.
_EXTRAS = {
    "compare": ("evaluation", "compare"),
    "evaluation": ("evaluation", "compare"),
    "plots": ("plots", "plot"),
    "ray": ("ray", "ray"),
    "tuners": ("tuners", "tuner"),
}


def __getattr__(name):
    if name not in _EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, extra = _EXTRAS[name]
    try:
        module = importlib.import_module(f"keras_modals.{module_name}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`keras_modals.{name}` requires '{error.name}'. Install it with: "
            f'pip install "keras-modals[{extra}]"'
        ) from error
    return module if name == module_name else getattr(module, name)


def __dir__():
    return sorted({*globals(), *_EXTRAS})
