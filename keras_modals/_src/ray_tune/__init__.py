"""Policy search with Ray Tune. Needs the extra `keras-modals[ray]`."""

from keras_modals._src.ray_tune.scheduler import PopulationBasedTraining
from keras_modals._src.ray_tune.space import policy_space
from keras_modals._src.ray_tune.trainable import load_model, trainable

__all__ = ["PopulationBasedTraining", "load_model", "policy_space", "trainable"]
