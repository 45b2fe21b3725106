"""The rules of a population, of whichever search. It knows no model."""

from keras_modals.population.explore import pba_explore
from keras_modals.population.levels import Levels, Range
from keras_modals.population.population import Population

__all__ = ["Levels", "Population", "Range", "pba_explore"]
