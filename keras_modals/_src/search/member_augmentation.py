import keras
import numpy as np
from keras import ops

from keras_modals._src.layers.gradients import scale_gradient
from keras_modals._src.layers.latent_augmentation import LatentAugmentation


@keras.saving.register_keras_serializable("keras_modals")
class MemberAugmentation(LatentAugmentation):
    """A `LatentAugmentation` with one policy per member of a population.

    All members share the encoder's latents and one class memory. In training, rows are
    those of the first member, then those of the second, and so on. Each member's rows
    are what `LatentAugmentation` would return for it.

    Args:
        population_size: Positive integer.
        **kwargs: Arguments of `LatentAugmentation`.

    Attributes:
        probabilities, magnitudes: float32 `(population_size, sub_policies)`.
        encoder_shares: float32 `(population_size,)`, the weight of each member's
            gradient in the encoder's gradient. Sums to 1.
    """

    def __init__(self, population_size, **kwargs):
        super().__init__(**kwargs)
        self.population_size = population_size

    def build(self, latents_shape):
        super().build(latents_shape)
        self.encoder_shares = self._variable(
            "encoder_shares", 1.0 / self.population_size
        )

    def _variable(self, name, values):
        return super()._variable(name, np.stack([values] * self.population_size))

    @property
    def members(self):
        return self.population_size

    @LatentAugmentation.policy.setter  # type: ignore[attr-defined]
    def policy(self, policy):
        raise ValueError(
            "The search chooses a policy for each member of the population. Use "
            "`best_model()` to train with a policy or a schedule. "
            f"Received: policy={policy}"
        )

    def _policy_of(self, probabilities, magnitudes):
        # The best member of the population is the first.
        return super()._policy_of(probabilities[0], magnitudes[0])

    def _to_encoder(self, latents, members):
        shared = self.share(ops.reshape(latents, (members, -1, *latents.shape[1:])))
        return ops.reshape(shared, (-1, *shared.shape[2:]))

    def share(self, tensor):
        """Repeats a tensor for each member, unless it has a member axis.

        Each member's gradient is multiplied by its share. With a share of 0, not even
        NaN passes.

        Args:
            tensor: `(1, ...)` or `(population_size, ...)`.
        """
        if "float" not in keras.backend.standardize_dtype(tensor.dtype):
            return ops.repeat(tensor, self.population_size, axis=0)
        shares = ops.cast(self.encoder_shares, tensor.dtype)
        shares = ops.reshape(shares, (-1, *[1] * (len(tensor.shape) - 1)))
        return _finite_gradient(scale_gradient(tensor, shares))

    def get_config(self):
        return {**super().get_config(), "population_size": self.population_size}


@ops.custom_gradient
def _finite_gradient(tensor):
    """Returns the same values and blocks gradients that are not finite.

    A member, an entry of the first axis, with such a gradient gets no gradient at all:
    it must not harm the shared encoder."""

    def gradient(*arguments, upstream=None):
        if upstream is None:
            (upstream,) = arguments
        axes = tuple(range(1, len(upstream.shape)))
        finite = ops.all(ops.isfinite(upstream), axis=axes, keepdims=True)
        return ops.where(finite, upstream, ops.zeros_like(upstream))

    return tensor, gradient
