"""`keras_modals._src.backend` on PyTorch.

There, Keras's `scatter` is a loop over entries, its `take` is nine operations, and its
`segment_sum` creates an index as large as the values. A variable can be written in
place."""

import keras
import numpy as np
import torch

from keras_modals._src.backend.generic import copy_rows as copy_rows
from keras_modals._src.backend.generic import gather as gather
from keras_modals._src.backend.generic import many_models as many_models
from keras_modals._src.backend.generic import normal as normal
from keras_modals._src.backend.generic import num_replicas as num_replicas
from keras_modals._src.backend.generic import slice_rows as slice_rows
from keras_modals._src.backend.generic import tile_rows as tile_rows
from keras_modals._src.backend.generic import uniform as uniform


def branch_index(index):
    return int(index)


def take_rows(table, indices):
    values = table.value if isinstance(table, keras.Variable) else table
    if isinstance(values, np.ndarray):
        # From `train_on_batch`. NumPy would treat a single index as a scalar.
        values = keras.ops.convert_to_tensor(values)
    return values[indices.long()]


def without_gradients():
    return torch.no_grad()


def put_rows(variable, indices, rows, after=()):
    with torch.no_grad():
        variable.value[indices.long()] = rows.to(variable.value.dtype)


def add_entries(tensor, indices, values):
    return tensor.index_put(tuple(indices.long().unbind(-1)), values, accumulate=True)


def segment_sum(values, segments, count):
    sums = values.new_zeros((count, *values.shape[1:]))
    return sums.index_add(0, segments.long(), values)


def invert(permutation):
    return torch.argsort(permutation).int()
