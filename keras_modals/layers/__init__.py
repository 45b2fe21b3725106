from keras_modals.layers.latent_augmentation import LatentAugmentation
from keras_modals.layers.latent_dropout import LatentDropout

__all__ = ["LatentAugmentation", "LatentDropout"]
