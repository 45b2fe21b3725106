from keras_modals.metrics.gaussian_distance import GaussianDistance

__all__ = ["GaussianDistance"]
