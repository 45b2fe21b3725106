from keras_modals.layers.class_memory import ClassMemory
from keras_modals.layers.latent_augmentation import LatentAugmentation

__all__ = ["ClassMemory", "LatentAugmentation"]
