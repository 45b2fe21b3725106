"""What public Keras does not offer, or offers too slowly, one file per backend.

- `take_rows(variable, indices)`: reads rows without reading the variable whole.
- `put_rows(variable, indices, rows, after)`, `add_rows(variable, indices, rows)`: write
  rows of a variable in place; `after` are tensors that depend on what was read from it.
- `add_entries(tensor, indices, values)`: a tensor with values added at `(n, rank)`
  indices, repeated ones included.
- `uniform(shape, seed)`, `normal(shape, seed)`: float32 draws from a
  `keras.random.SeedGenerator`.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_modals.backend.tensorflow import (
        add_entries,
        add_rows,
        normal,
        put_rows,
        take_rows,
        uniform,
    )
else:
    from keras_modals.backend.generic import (
        add_entries,
        add_rows,
        normal,
        put_rows,
        take_rows,
        uniform,
    )

__all__ = ["add_entries", "add_rows", "normal", "put_rows", "take_rows", "uniform"]
