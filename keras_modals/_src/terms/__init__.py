"""Loss terms on clean latents or unlabeled samples, added to the task's loss.

Each has its variables, optimizer, logs, and state. A custom term is a subclass of
`Term`.
"""

from keras_modals._src.terms.consistency import Consistency
from keras_modals._src.terms.gaussian_discriminator import GaussianDiscriminator
from keras_modals._src.terms.prior import Prior
from keras_modals._src.terms.term import Term, TermLosses, TermStep
from keras_modals._src.terms.triplets import Triplets

__all__ = [
    "Consistency",
    "GaussianDiscriminator",
    "Prior",
    "Term",
    "TermLosses",
    "TermStep",
    "Triplets",
]
