"""Policy search with Keras Tuner. Needs the extra `keras-modals[tuner]`."""

from keras_modals._src.tuners.policy_space import policy_space
from keras_modals._src.tuners.population_oracle import PopulationBasedOracle
from keras_modals._src.tuners.population_tuner import PopulationBasedTuner
from keras_modals._src.tuners.recipe_space import Recipe, recipe_space

__all__ = [
    "PopulationBasedOracle",
    "PopulationBasedTuner",
    "Recipe",
    "policy_space",
    "recipe_space",
]
