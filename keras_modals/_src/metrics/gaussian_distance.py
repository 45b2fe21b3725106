from typing import Any

import keras
from keras import ops

from keras_modals._src.memory.class_memory import is_finite


@keras.saving.register_keras_serializable("keras_modals")
class GaussianDistance(keras.metrics.Metric):
    """Distance of latents from a standard normal distribution, based on their moments.

    The metric is the squared 2-Wasserstein distance between
    `N(mean, diag(deviation ** 2))` of all latents seen since the last reset and
    `N(0, I)`, per feature: the mean over features of
    `mean ** 2 + (deviation - 1) ** 2`. It is 0 if every feature has mean 0 and
    deviation 1, and 1 if all latents are zero. Correlations between features are
    ignored.

    Args:
        name: Name of the metric.
        dtype: Dtype of the state. Defaults to float32.

    Example:

    >>> metric = keras_modals.GaussianDistance()
    >>> metric.update_state(np.zeros((8, 4)))
    >>> float(metric.result())
    1.0
    """

    def __init__(self, name="gaussian_distance", dtype="float32"):
        super().__init__(name=name, dtype=dtype)
        self._moments: Any = None

    def build(self, num_features):
        """Creates the state for latents of `num_features` features."""

        def zeros(name, shape):
            return self.add_variable(shape=shape, initializer="zeros", name=name)

        self._count = zeros("count", ())
        self._moments = zeros("moments", (2, num_features))

    def update_state(self, latents, sample_weight=None):
        """Adds latents, `(batch, ...)`, with optional sample weights.

        Latents that are not finite are left out."""
        latents = ops.cast(latents, self.dtype)
        latents = ops.reshape(latents, (ops.shape(latents)[0], -1))
        if self._moments is None:
            self.build(latents.shape[1])
        finite = is_finite(latents)
        latents = ops.where(finite[:, None], latents, 0.0)
        weight = ops.cast(finite, self.dtype)
        if sample_weight is not None:
            weight *= ops.cast(ops.reshape(sample_weight, (-1,)), self.dtype)
        moments = ops.stack([latents, ops.square(latents)])
        self._moments.assign_add(ops.sum(moments * weight[:, None], axis=1))
        self._count.assign_add(ops.sum(weight))

    def result(self):
        if self._moments is None:
            return ops.zeros((), dtype=self.dtype)
        moments = self._moments / ops.maximum(self._count, 1.0)
        mean = moments[0]
        variance = ops.maximum(moments[1] - ops.square(mean), 0.0)
        return ops.mean(ops.square(mean) + ops.square(ops.sqrt(variance) - 1.0))
