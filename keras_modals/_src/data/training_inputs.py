"""Inputs of a training, read a second time."""

import itertools
import math
from collections.abc import Iterable

import keras
import numpy as np

from keras_modals._src.data.joined import JoinedData
from keras_modals._src.data.preprocessed import as_arrays, preprocess
from keras_modals._src.data.sources import length_of, to_numpy


def training_inputs(arguments, count, preprocessor=None):
    """Returns up to `count` batches of the inputs that `fit` trains on.

    Arrays give random rows, and a `keras.utils.PyDataset` random batches.

    Args:
        arguments: Dict of the arguments of `fit`.
        count: Integer.
        preprocessor: As in `PreprocessingModel`.

    Returns:
        List of structures of arrays. It is empty if the data cannot be read a second
        time, such as a generator.
    """
    x = arguments.get("x")
    batches: Iterable = ()
    if isinstance(x, keras.utils.PyDataset):
        # Streams inside of joined data must not advance.
        x = x.anew() if isinstance(x, JoinedData) else x
        batches = (_inputs(x[index]) for index in _indices(length_of(x), count))
    elif isinstance(x, (list, tuple, dict)) or hasattr(x, "shape"):
        x = x if preprocessor is None else as_arrays(x)
        is_split = arguments.get("validation_data") is None
        split = is_split and arguments.get("validation_split")
        batches = _of_arrays(x, count, arguments.get("batch_size") or 32, split or 0.0)
    elif isinstance(x, Iterable) and not hasattr(x, "__next__"):
        batches = map(_inputs, itertools.islice(x, count))
    if preprocessor is not None:
        made = preprocess(preprocessor)
        batches = (_inputs(made(batch)) for batch in batches)
    found = [keras.tree.map_structure(to_numpy, batch) for batch in batches]
    are_known = all(map(_is_array, keras.tree.flatten(found)))
    return found if are_known else []


def num_rows(structure):
    """The number of rows of a structure of arrays, of which some may be `None`."""
    leaves = keras.tree.flatten(structure)
    return next(leaf.shape[0] for leaf in leaves if leaf is not None)


def _indices(length, count):
    if length is None:
        return range(count)
    return np.random.default_rng(0).permutation(length)[:count].tolist()


def _of_arrays(x, count, batch_size, validation_split):
    """Yields batches of random rows, without those that `fit` splits off."""
    x = keras.tree.map_structure(_sliceable, x)
    trained = math.floor(num_rows(x) * (1.0 - validation_split))
    rows = np.random.default_rng(0).permutation(trained)
    for index in range(min(count, max(1, trained // batch_size))):
        taken = rows[index * batch_size : (index + 1) * batch_size]
        yield keras.tree.map_structure(lambda each: _rows(each, taken), x)  # noqa: B023


def _sliceable(array):
    return array if hasattr(array, "toarray") else to_numpy(array)


def _rows(array, rows):
    if array is None:
        return None
    array = array[rows]
    # A sparse matrix of SciPy.
    return array.toarray() if hasattr(array, "toarray") else array


def _is_array(leaf):
    return leaf is None or leaf.ndim > 0


def _inputs(batch):
    return keras.utils.unpack_x_y_sample_weight(batch)[0]
