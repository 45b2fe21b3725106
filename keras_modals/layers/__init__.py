from keras_modals.layers.latent_augmentation import LatentAugmentation

__all__ = ["LatentAugmentation"]
