"""Losses on clean latents beside the task's, each with its variables, optimizer, logs
and state. One of your own is a subclass of `Term`.
"""

from keras_modals.terms.gaussian_discriminator import GaussianDiscriminator
from keras_modals.terms.prior import Prior
from keras_modals.terms.term import Term, TermLosses
from keras_modals.terms.triplets import Triplets

__all__ = [
    "GaussianDiscriminator",
    "Prior",
    "Term",
    "TermLosses",
    "Triplets",
]
