"""Sources of samples: arrays, or streams of batches."""

import itertools

import keras
import numpy as np


class ArraySource:
    """An endless sequence of samples from arrays, one pass after the other.

    Args:
        arrays: Structure of arrays with the same number of samples.
        shuffle: Boolean, whether to shuffle each pass.
        seed: Tuple of integers.
    """

    def __init__(self, arrays, shuffle, seed):
        self._arrays = keras.tree.map_structure(to_numpy, arrays)
        counts = {len(each) for each in keras.tree.flatten(self._arrays)}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(
                "Expected arrays with the same number of samples, at least one. "
                f"Received: arrays of {sorted(counts)} samples"
            )
        (self.count,) = counts
        self._shuffle, self._seed = shuffle, seed
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def samples(self, epoch, start, count):
        """Returns `count` samples from position `start`, in the orders of an epoch."""
        rounds, places = np.divmod(np.arange(start, start + count), self.count)
        parts = [
            self._order(epoch, int(number))[places[rounds == number]]
            for number in np.unique(rounds)
        ]
        rows = np.concatenate(parts)
        return keras.tree.map_structure(lambda array: array[rows], self._arrays)

    def _order(self, *key):
        if not self._shuffle:
            return np.arange(self.count)
        if key not in self._orders:
            while len(self._orders) > 3:
                self._orders.pop(next(iter(self._orders)))
            rng = np.random.default_rng((*self._seed, *key))
            self._orders[key] = rng.permutation(self.count)
        return self._orders[key]


class StreamSource:
    """Samples from a stream of batches, which restarts at its end.

    Args:
        stream: A `keras.utils.PyDataset`, or another iterable.
    """

    def __init__(self, stream):
        self._stream = stream
        self._batches = iter(())
        self._left: list = []

    @property
    def length(self):
        """The number of batches; `None` if unknown."""
        return length_of(self._stream)

    def batch(self):
        """Returns the next batch, as NumPy arrays."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = batches_of(self._stream)
            batch = next(self._batches, None)
        if batch is None:
            raise ValueError(
                "Expected a stream of batches that can be iterated over repeatedly, "
                "such as a `keras.utils.PyDataset`. Received: an exhausted stream, "
                f"{self._stream!r}"
            )
        return keras.tree.map_structure(to_numpy, batch)

    def samples(self, count):
        """Returns the inputs of the next `count` samples."""
        while sum(map(_count, self._left)) < count:
            self._left.append(keras.utils.unpack_x_y_sample_weight(self.batch())[0])
        joined = concatenated(*self._left)
        self._left = [keras.tree.map_structure(lambda each: each[count:], joined)]
        return keras.tree.map_structure(lambda each: each[:count], joined)


def are_arrays(structure):
    """Whether a structure holds arrays and is not a stream."""
    leaves = keras.tree.flatten(structure)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def concatenated(*structures):
    """Concatenates structures of arrays."""
    return keras.tree.map_structure(lambda *each: np.concatenate(each), *structures)


def _count(structure):
    return len(keras.tree.flatten(structure)[0])


def length_of(stream):
    """The number of batches of a stream; `None` if unknown."""
    if isinstance(stream, keras.utils.PyDataset):
        return stream.num_batches
    try:
        return len(stream)
    except TypeError:
        return None


def batches_of(stream):
    """Yields the batches of one epoch, unchanged."""
    if not isinstance(stream, keras.utils.PyDataset):
        yield from stream
        return
    length = stream.num_batches
    for index in itertools.count() if length is None else range(length):
        yield stream[index]
    stream.on_epoch_end()


def to_numpy(array):
    """Converts an array or tensor to NumPy; `None` is returned as it is."""
    if array is None or isinstance(array, np.ndarray):
        return array
    is_tensor = keras.ops.is_tensor(array)
    return keras.ops.convert_to_numpy(array) if is_tensor else np.asarray(array)
