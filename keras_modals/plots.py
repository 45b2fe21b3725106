"""Plots with matplotlib. Requires the extra `keras-modals[plot]`."""

from keras_modals._src.plots import *  # noqa: F403
from keras_modals._src.plots import __all__ as __all__
