"""Operations that move latents: the four of MODALS, class mixing, and the building
blocks for custom operations.

Reference:

- [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
"""

from keras_modals._src.operations.batch import Batch
from keras_modals._src.operations.class_mixing import ClassMixing
from keras_modals._src.operations.difference_transform import DifferenceTransform
from keras_modals._src.operations.gaussian_noise import GaussianNoise
from keras_modals._src.operations.hard_extrapolation import HardExtrapolation
from keras_modals._src.operations.hard_interpolation import HardInterpolation
from keras_modals._src.operations.mixing import Mixing
from keras_modals._src.operations.operation import (
    PAPER_OPERATIONS,
    Draw,
    Move,
    Operation,
    get,
    names,
)

__all__ = [
    "PAPER_OPERATIONS",
    "Batch",
    "ClassMixing",
    "DifferenceTransform",
    "Draw",
    "GaussianNoise",
    "HardExtrapolation",
    "HardInterpolation",
    "Mixing",
    "Move",
    "Operation",
    "get",
    "names",
]
