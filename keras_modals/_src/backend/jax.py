"""`keras_modals._src.backend` on JAX.

A compiled step writes a variable in place only if the written values depend on
everything that reads the variable."""

import jax.numpy as jnp

from keras_modals._src.backend.generic import add_entries as add_entries
from keras_modals._src.backend.generic import branch_index as branch_index
from keras_modals._src.backend.generic import copy_rows as copy_rows
from keras_modals._src.backend.generic import gather as gather
from keras_modals._src.backend.generic import invert as invert
from keras_modals._src.backend.generic import many_models as many_models
from keras_modals._src.backend.generic import normal as normal
from keras_modals._src.backend.generic import num_replicas as num_replicas
from keras_modals._src.backend.generic import segment_sum as segment_sum
from keras_modals._src.backend.generic import slice_rows as slice_rows
from keras_modals._src.backend.generic import take_rows as take_rows
from keras_modals._src.backend.generic import tile_rows as tile_rows
from keras_modals._src.backend.generic import uniform as uniform
from keras_modals._src.backend.generic import without_gradients as without_gradients


def put_rows(variable, indices, rows, after=()):
    indices = indices + sum(_zero_after(tensor) for tensor in after)
    value = variable.value
    variable.assign(value.at[indices].set(rows.astype(value.dtype)))


def _zero_after(tensor):
    """A zero that XLA cannot compute before the tensor.

    With an optimization barrier, the variable would be copied."""
    return jnp.minimum(jnp.abs(jnp.nan_to_num(jnp.sum(tensor))), 0).astype("int32")
