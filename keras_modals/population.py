"""The rules of a population, of whichever search. It knows no model."""

from keras_modals._src.population import *  # noqa: F403
from keras_modals._src.population import __all__ as __all__
