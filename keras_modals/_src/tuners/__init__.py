"""Policy search with Keras Tuner. Needs the extra `keras-modals[tuner]`."""

from keras_modals._src.tuners.policy_space import policy_space
from keras_modals._src.tuners.population_oracle import PopulationBasedOracle
from keras_modals._src.tuners.population_tuner import PopulationBasedTuner

__all__ = [
    "PopulationBasedOracle",
    "PopulationBasedTuner",
    "policy_space",
]
