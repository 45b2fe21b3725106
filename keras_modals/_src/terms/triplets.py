from typing import Any

import keras

from keras_modals._src import backend
from keras_modals._src.losses.triplet_selector import TripletSelector
from keras_modals._src.terms.term import Term, TermLosses


class Triplets(Term):
    """A triplet loss on latents that separates the classes.

    The objective is `(1 - weight) * task + weight * triplets`.

    Args:
        weight: Float in `[0, 1)`.
        loss: A `keras.losses.Loss` of (labels, latents). Defaults to
            `TripletSelector(0.5, "random", "cosine")`. As it compares directions, it
            suits latents of any scale. With several labels at once, it needs
            `multi_label=True`.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> loss = keras_modals.TripletSelector(1.0, "semihard")
    >>> term = keras_modals.Triplets(0.2, loss)
    """

    kind = "triplet"
    bounds = ("a float in [0, 1)", lambda value: 0 <= value < 1)
    is_share = True
    levels = tuple(level / 20 for level in range(11))

    def __init__(self, weight=0.0, loss=None):
        super().__init__(weight)
        if isinstance(loss, dict):
            loss = keras.saving.deserialize_keras_object(loss)
        if not (loss is None or isinstance(loss, keras.losses.Loss)):
            raise ValueError(
                "Invalid value received for argument `loss`. Expected a "
                f"`keras.losses.Loss` of labels and latents. Received: loss={loss!r}"
            )
        self._is_default = loss is None
        self.loss: Any = loss or TripletSelector(0.5, "random", "cosine")

    def prepare(self, model):
        several = model.latent_augmentation.labels.are_several
        if self._is_default:
            self.loss.multi_label = several
        if getattr(self.loss, "multi_label", several) != several:
            raise ValueError(
                "With several labels at once, and only then, the triplet loss "
                f"needs `multi_label=True`. Received: loss={self.loss!r} "
                f"with multi_label={self.loss.multi_label}"
            )
        super().prepare(model)

    def losses(self, latents, labels, sample_weight=None):
        # Keras divides its losses by the number of replicas.
        return TermLosses(backend.num_replicas() * self.loss(labels, latents))

    @property
    def variables(self):
        return [*super().variables, *self.seeds]

    @property
    def seeds(self):
        seed = getattr(self.loss, "seed_generator", None)
        return [] if seed is None else [seed.state]

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss}
