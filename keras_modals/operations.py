"""The operations that move latents: the four of MODALS, the mixing of classes, and what
one of your own is made of.

Reference:

- [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
"""

from keras_modals._src.operations import *  # noqa: F403
from keras_modals._src.operations import __all__ as __all__
