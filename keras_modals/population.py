"""Rules of population-based search, independent of any model or search library."""

from keras_modals._src.population import *  # noqa: F403
from keras_modals._src.population import __all__ as __all__
