"""Modality-agnostic data augmentation in the latent space, for Keras 3."""

import importlib

from keras_modals.layers.latent_augmentation import DEFAULT_POLICY, LatentAugmentation
from keras_modals.losses.triplet_selector import TripletSelector
from keras_modals.metrics.gaussian_distance import GaussianDistance
from keras_modals.models.augment import augment
from keras_modals.models.gaussian_discriminator import GaussianDiscriminator
from keras_modals.models.modals_model import (
    DEFAULT_PRIOR_WEIGHT,
    DEFAULT_TRIPLET_WEIGHT,
    ModalsModel,
)
from keras_modals.policies.policy import Policy
from keras_modals.policies.policy_schedule import PolicySchedule
from keras_modals.policies.policy_scheduler import PolicyScheduler
from keras_modals.search.shared_encoder_search import SharedEncoderSearch
from keras_modals.version import __version__

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_PRIOR_WEIGHT",
    "DEFAULT_TRIPLET_WEIGHT",
    "GaussianDiscriminator",
    "GaussianDistance",
    "LatentAugmentation",
    "ModalsModel",
    "Policy",
    "PolicySchedule",
    "PolicyScheduler",
    "SharedEncoderSearch",
    "TripletSelector",
    "__version__",
    "augment",
]


def __getattr__(name):
    # Keras Tuner is an extra, and slow to import.
    if name == "tuners":
        return importlib.import_module("keras_modals.tuners")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
