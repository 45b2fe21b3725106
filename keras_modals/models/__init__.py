from keras_modals.models.augment import augment
from keras_modals.models.modals_model import ModalsModel

__all__ = ["ModalsModel", "augment"]
