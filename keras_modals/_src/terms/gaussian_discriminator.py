import keras
from keras import ops

from keras_modals._src import backend


@keras.saving.register_keras_serializable("keras_modals")
class GaussianDiscriminator(keras.Model):
    """Distinguishes latents from samples of a standard normal distribution.

    An encoder that learns to fool it produces latents closer to the distribution
    `N(0, I)`. Discriminator and encoder see the same clean latents, whereas the
    method's public code shows them two different distributions. Losses are computed
    from logits.

    Latents should be near unit scale, the scale of the prior. Features beyond 10 are
    compressed, `10 + 10 * log(x / 10)`, so that the output stays finite at any scale.

    Args:
        hidden_units: Tuple of positive integers, the widths of the hidden layers.
            Defaults to the paper's `(512, 128)`.
        activation: Activation of the hidden layers. Defaults to `"relu"`.
        seed: Optional integer for the samples of the prior.

    Input shape:
        `(batch, ...)`; all axes but the first are features.

    Output shape:
        `(batch, 1)`: logits, positive if an input looks like the prior.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    - [Makhzani et al., 2015](https://arxiv.org/abs/1511.05644)

    Example:

    >>> discriminator = keras_modals.GaussianDiscriminator(hidden_units=(32,))
    >>> tuple(discriminator(np.zeros((8, 16), "float32")).shape)
    (8, 1)
    >>> tuple(discriminator.sample_prior(4).shape)
    (4, 16)
    """

    def __init__(self, hidden_units=(512, 128), activation="relu", seed=None, **kwargs):
        # In half precision, large latents would overflow before they are compressed.
        super().__init__(autocast=False, **kwargs)
        hidden_units = tuple(hidden_units)
        if not hidden_units or not all(
            isinstance(units, int) and units > 0 for units in hidden_units
        ):
            raise ValueError(
                "Invalid value received for argument `hidden_units`. Expected a "
                "non-empty tuple of positive integers. "
                f"Received: hidden_units={hidden_units}"
            )
        self.hidden_units = hidden_units
        self.activation = keras.activations.get(activation)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.flatten = keras.layers.Flatten(dtype=self.dtype_policy)
        self.hidden_layers = [
            keras.layers.Dense(units, self.activation, dtype=self.dtype_policy)
            for units in hidden_units
        ]
        self.logits = keras.layers.Dense(1, dtype=self.dtype_policy)

    def build(self, latents_shape):
        shape = tuple(latents_shape)
        self.latents_shape = shape[1:]
        shape = self.flatten.compute_output_shape(shape)
        for layer in [*self.hidden_layers, self.logits]:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, latents):
        hidden = self.flatten(_compressed(ops.cast(latents, "float32")))
        for layer in self.hidden_layers:
            hidden = layer(hidden)
        return self.logits(hidden)

    def sample_prior(self, num_samples):
        """Draws `num_samples` latents from `N(0, I)`, in the compute dtype."""
        if not self.built:
            raise ValueError(
                "`sample_prior` needs the shape of latents. Build the discriminator, "
                "or call it on latents, first."
            )
        samples = backend.normal(
            (num_samples, *self.latents_shape), self.seed_generator
        )
        return ops.cast(samples, self.compute_dtype)

    def discriminator_loss(self, latent_logits, prior_logits, sample_weight=None):
        """Mean cross-entropy of classifying latents and samples of the prior correctly.

        Latents may have sample weights."""
        latent_logits = ops.cast(latent_logits, "float32")
        prior_logits = ops.cast(prior_logits, "float32")
        return 0.5 * (
            _mean(ops.softplus(latent_logits), sample_weight)
            + ops.mean(ops.softplus(-prior_logits))
        )

    def encoder_loss(self, latent_logits, sample_weight=None):
        """Mean cross-entropy of classifying latents as samples of the prior.

        Latents may have sample weights."""
        losses = ops.softplus(-ops.cast(latent_logits, "float32"))
        return _mean(losses, sample_weight)

    def accuracy(self, latent_logits, prior_logits, sample_weight=None):
        """The fraction of latents and samples of the prior classified correctly.

        Latents may have sample weights. Chance level is 0.5."""
        latents = _mean(ops.cast(latent_logits < 0, "float32"), sample_weight)
        return 0.5 * (latents + ops.mean(ops.cast(prior_logits > 0, "float32")))

    def get_config(self):
        return {
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
            "seed": self.seed,
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }


#: Features are compressed beyond this. Samples of the prior are well within.
_LINEAR = 10.0


def _compressed(latents):
    size = ops.maximum(ops.abs(latents), _LINEAR)
    grown = ops.sign(latents) * _LINEAR * (1.0 + ops.log(size / _LINEAR))
    return ops.where(ops.abs(latents) <= _LINEAR, latents, grown)


def _mean(values, sample_weight):
    """The mean of `(batch, 1)` values; 0 if all sample weights are 0."""
    if sample_weight is None:
        return ops.mean(values)
    total = ops.sum(values[:, 0] * sample_weight)
    return total / ops.maximum(ops.sum(sample_weight), 1.0)
