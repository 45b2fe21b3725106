"""Operations that move latents: the four of MODALS, class mixing, and the building
blocks for custom operations.

Reference:

- [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
"""

from keras_modals._src.operations import *  # noqa: F403
from keras_modals._src.operations import __all__ as __all__
