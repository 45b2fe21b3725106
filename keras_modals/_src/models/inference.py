"""The plain Keras model of a trained `ModalsModel`."""

from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.mixed_mask import MixedMask
from keras_modals._src.models.copying import copy_graph
from keras_modals._src.models.hub_task import task_like


def plain_model(model):
    """Returns a KerasHub task or a Functional model with the same weights, without
    augmentation."""
    plain = model.task_config and task_like(model, model.task_config)
    if plain is None:
        plain = _without_augmentation(model)
    # Keras exports to ONNX only what has been called.
    plain(plain.input)
    return plain


def nested_augmentations(model):
    """Names of the layers that augment inside a nested model."""
    own = {layer.name for layer in model.layers}
    names = [layer.name for layer in model.latent_augmentations]
    return [name for name in names if name not in own]


def _without_augmentation(model):
    nested = nested_augmentations(model)
    if nested:
        raise ValueError(
            "A `LatentAugmentation` in a nested model cannot be removed. Insert it in "
            f"the outer model instead. Received: {nested}"
        )

    def skip_augmentation(layer, *args, **kwargs):
        if isinstance(layer, (LatentAugmentation, MixedMask)):
            return args[0]
        return layer(*args, **kwargs)

    return copy_graph(model, lambda: skip_augmentation)
