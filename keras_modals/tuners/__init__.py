"""Policy search with Keras Tuner. Needs the extra `keras-modals[tuner]`."""

from keras_modals.tuners.policy_space import policy_space
from keras_modals.tuners.population_oracle import PopulationBasedOracle
from keras_modals.tuners.population_tuner import PopulationBasedTuner

__all__ = [
    "PopulationBasedOracle",
    "PopulationBasedTuner",
    "policy_space",
]
