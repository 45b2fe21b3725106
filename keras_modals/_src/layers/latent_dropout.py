import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_bounds


@keras.saving.register_keras_serializable("keras_modals")
class LatentDropout(keras.layers.Layer):
    """Dropout with a variable rate, which a schedule or search can change.

    Put it after the `LatentAugmentation`, or let `augment(model, dropout=0.3)` do so.
    It acts on every latent that the head receives in training, including clean ones.

    Args:
        rate: Float in `[0, 1)`, the fraction of features to set to zero. Others are
            scaled by `1 / (1 - rate)`. Defaults to `0.0`.
        seed: Optional integer to make the draws reproducible.

    Call arguments:
        inputs: Tensor of floats, of any shape.
        training: Boolean, whether to apply dropout.

    Attributes:
        rate: The variable, a float32 scalar.

    Reference:

    - [Srivastava et al., 2014](https://jmlr.org/papers/v15/srivastava14a.html)

    Example:

    >>> layer = keras_modals.LatentDropout(0.5, seed=0)
    >>> tuple(layer(np.ones((2, 4), "float32"), training=True).shape)
    (2, 4)
    >>> float(layer.rate)
    0.5
    """

    def __init__(self, rate=0.0, seed=None, **kwargs):
        # At inference the layer is the identity.
        super().__init__(autocast=False, **kwargs)
        self.initial_rate = float(check_bounds("dropout", rate, "rate"))
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape):
        self.rate = self.add_weight(
            name="rate",
            shape=(),
            initializer=keras.initializers.Constant(self.initial_rate),
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def call(self, inputs, training=None):
        if not training:
            return inputs
        return drop(inputs, ops.convert_to_tensor(self.rate), self.seed_generator)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {**config, "rate": self.initial_rate, "seed": self.seed}


def drop(inputs, rate, seed):
    """Sets entries to zero with probability `rate` and scales the others."""
    keeps = 1.0 - rate
    kept = backend.uniform(ops.shape(inputs), seed) < keeps
    scale = ops.cast(1.0 / keeps, inputs.dtype)
    return ops.where(kept, inputs * scale, ops.zeros_like(inputs))
