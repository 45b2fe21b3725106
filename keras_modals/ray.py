"""Policy search with Ray Tune. Requires the extra `keras-modals[ray]`."""

from keras_modals._src.ray_tune import *  # noqa: F403
from keras_modals._src.ray_tune import __all__ as __all__
