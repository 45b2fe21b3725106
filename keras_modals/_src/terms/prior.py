from typing import Any

import keras
from keras import ops

from keras_modals._src.memory.class_memory import is_finite
from keras_modals._src.metrics.gaussian_distance import GaussianDistance
from keras_modals._src.terms.gaussian_discriminator import GaussianDiscriminator
from keras_modals._src.terms.term import Term, TermLosses


class Prior(Term):
    """A discriminator that draws latents toward `N(0, I)`.

    The encoder minimizes `weight` times the cross-entropy of its latents being
    classified as samples of the prior. The discriminator learns to distinguish them.

    Args:
        weight: Non-negative float. The paper's value of 1 competes with the task.
            Latents should be near unit scale: at a scale of 100 or more, the prior
            ruins the task's loss. Normalize inputs, or latents, first.
        discriminator: A `GaussianDiscriminator`. Defaults to one with default
            arguments.
        optimizer: The discriminator's optimizer. Defaults to the paper's SGD, with a
            learning rate of 0.01 and momentum 0.9.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> discriminator = keras_modals.GaussianDiscriminator((64,))
    >>> term = keras_modals.Prior(0.01, discriminator, optimizer="adam")
    """

    kind = "prior"
    needs_groups = False
    levels = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
    log_names = ("adversarial_loss", "discriminator_loss", "discriminator_accuracy")

    def __init__(self, weight=0.0, discriminator=None, optimizer=None):
        super().__init__(weight)
        if isinstance(discriminator, dict):
            discriminator = keras.saving.deserialize_keras_object(discriminator)
        if not (
            discriminator is None or isinstance(discriminator, GaussianDiscriminator)
        ):
            raise ValueError(
                "Invalid value received for argument `discriminator`. Expected a "
                f"`GaussianDiscriminator`. Received: discriminator={discriminator!r}"
            )
        self.discriminator: Any = discriminator or GaussianDiscriminator()
        if optimizer is None:
            optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        self.optimizer = keras.optimizers.get(optimizer)

    def build(self, num_features):
        is_new = self.weight is None
        super().build(num_features)
        if not self.discriminator.built:
            self.discriminator.build((None, num_features))
        if self.discriminator.latents_shape != (num_features,):
            raise ValueError(
                f"The discriminator must be built for latents of shape "
                f"{(num_features,)}, the product of all axes but the first. Received: "
                "a discriminator for latents of shape "
                f"{self.discriminator.latents_shape}"
            )
        if is_new:
            distance = GaussianDistance("prior_distance")
            distance.build(num_features)
            self.metrics.append(distance)

    def losses(self, latents, labels, sample_weight=None):
        # Keep latents that are not finite out of the means.
        finite = is_finite(latents)[:, None]
        latents = ops.where(finite, latents, ops.zeros_like(latents))
        discriminator = self.discriminator
        frozen = [ops.stop_gradient(v) for v in discriminator.trainable_variables]
        fooled, _ = discriminator.stateless_call(
            frozen, [v.value for v in discriminator.non_trainable_variables], latents
        )
        prior = discriminator.sample_prior(ops.shape(latents)[0])
        latents = ops.cast(ops.stop_gradient(latents), "float32")
        both = ops.concatenate([latents, ops.cast(prior, "float32")], axis=0)
        latent_logits, prior_logits = ops.split(discriminator(both), 2, axis=0)
        encoder = discriminator.encoder_loss(fooled, sample_weight)
        of_both = latent_logits, prior_logits, sample_weight
        own = discriminator.discriminator_loss(*of_both)
        accuracy = discriminator.accuracy(*of_both)
        logs = dict(zip(self.log_names, (encoder, own, accuracy), strict=True))
        return TermLosses(encoder, own, logs)

    @property
    def own_variables(self):
        return self.discriminator.trainable_variables

    @property
    def variables(self):
        return [self.weight, *self.discriminator.variables]

    @property
    def seeds(self):
        return [self.discriminator.seed_generator.state]

    def update_metrics(self, logs, clean, num_scored):
        super().update_metrics(logs, clean, num_scored)
        self.metrics[-1].update_state(clean.latents, clean.sample_weight)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "discriminator": serialize(self.discriminator),
            "optimizer": serialize(self.optimizer),
        }
