"""Operations that public Keras lacks or implements too slowly, one file per backend.

- `take_rows(table, indices)`: rows of a tensor, or of a variable, without reading all
  of it. Indices must not be negative.
- `put_rows(variable, indices, rows, after)`: writes rows of a variable in place.
  `after` are tensors that depend on what was read from it.
- `add_entries(tensor, indices, values)`: a tensor with values added at `(n, rank)`
  indices, which may repeat.
- `segment_sum(values, segments, count)`: the sum of the rows of each of `count`
  segments.
- `invert(permutation)`: the inverse of a permutation of `0, 1, ...`, int32.
- `uniform(shape, seed)`, `normal(shape, seed)`: float32 draws from a
  `keras.random.SeedGenerator`, different in each replica.
- `slice_rows(predictions, start, size)`, `tile_rows(predictions, copies)`,
  `copy_rows(predictions)`: some rows of an output, or all of them several times or
  once, with the data that Keras attaches for its losses.
- `branch_index(index)`: an int32 scalar that selects a branch, as an integer if steps
  run eagerly.
- `num_replicas()`: the number of replicas that share a step, each with a part of the
  batch.
- `gather(tensors)`: gathers tensors of one replica's samples from all replicas.
- `many_models()`: a context in which many models may trace functions without a
  warning.
- `without_gradients()`: a context in which a call keeps nothing for gradients.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_modals._src.backend import tensorflow as _backend
elif keras.backend.backend() == "jax":
    from keras_modals._src.backend import jax as _backend  # type: ignore[no-redef]
elif keras.backend.backend() == "torch":
    from keras_modals._src.backend import torch as _backend  # type: ignore[no-redef]
else:
    from keras_modals._src.backend import generic as _backend  # type: ignore[no-redef]

add_entries = _backend.add_entries
branch_index = _backend.branch_index
copy_rows = _backend.copy_rows
gather = _backend.gather
invert = _backend.invert
many_models = _backend.many_models
normal = _backend.normal
num_replicas = _backend.num_replicas
put_rows = _backend.put_rows
slice_rows = _backend.slice_rows
segment_sum = _backend.segment_sum
take_rows = _backend.take_rows
tile_rows = _backend.tile_rows
uniform = _backend.uniform
without_gradients = _backend.without_gradients
