"""The rules of a population, of whichever search. It knows no model."""

from keras_modals._src.population.explore import pba_explore
from keras_modals._src.population.levels import Levels, Range

__all__ = ["Levels", "Range", "pba_explore"]
