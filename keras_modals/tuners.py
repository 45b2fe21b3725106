"""Policy search with Keras Tuner. Requires the extra `keras-modals[tuner]`."""

from keras_modals._src.tuners import *  # noqa: F403
from keras_modals._src.tuners import __all__ as __all__
