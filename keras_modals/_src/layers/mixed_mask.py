import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels.mixing import with_rank
from keras_modals._src.layers.step_scope import current_scope


@keras.saving.register_keras_serializable("keras_modals")
class MixedMask(keras.layers.Layer):
    """Updates a mask that bypasses a `LatentAugmentation`.

    Rows mixed at that layer get the positions of both samples. At inference, and
    outside `ModalsModel`, it is the identity.

    Args:
        layer: Name of the `LatentAugmentation`.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.layer = layer

    def call(self, mask):
        scope = current_scope()
        if scope is None or scope.rows is None:
            return mask
        return mixed_mask(mask, scope, self.layer)

    def compute_output_spec(self, mask):
        return keras.KerasTensor(mask.shape, mask.dtype)

    def get_config(self):
        return {**super().get_config(), "layer": self.layer}


def mixed_mask(mask, scope, layer):
    """Updates a mask for the outputs of the layer named `layer`."""
    place = scope.place_of(layer)
    rows = scope.rows.of_members(place.members)
    if place.is_first:
        mask = rows.tile(mask)
    if scope.mixing is None or place.level == place.until or scope.has_positions:
        return mask
    if isinstance(scope.mixing.level, int) and not scope.mixing.happens(place):
        return mask
    active = (rows.share > 0) & scope.mixing.happens(place)
    # A partner is a sample, so its mask is that of its first view.
    partner = backend.take_rows(mask, rows.partner)
    active = with_rank(active, len(mask.shape))
    return ops.where(active, _union(mask, partner), mask)


def _union(mask, partner):
    if keras.backend.standardize_dtype(mask.dtype) == "bool":
        return mask | partner
    return ops.maximum(mask, partner)
