"""Rules of population-based search, independent of any model or search library."""

from keras_modals._src.population.explore import pba_explore
from keras_modals._src.population.levels import Levels, Range

__all__ = ["Levels", "Range", "pba_explore"]
