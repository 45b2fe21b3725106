"""Samples: a pair of arrays, inputs and targets, or a dataset of batches of such pairs,
which is not held in memory."""

import zlib
from typing import Any

import keras
import numpy as np

from keras_modals._src.data.sources import batches_of, length_of, to_numpy
from keras_modals._src.evaluation.errors import NotApplicableError

#: The libraries whose datasets Keras's `fit` accepts.
_LIBRARIES = ("tensorflow.", "torch.utils.data.")


def is_dataset(value):
    """Whether a value yields batches and can be iterated over repeatedly."""
    if isinstance(value, keras.utils.PyDataset):
        return True
    modules = [each.__module__ + "." for each in type(value).__mro__]
    is_known = any(module.startswith(_LIBRARIES) for module in modules)
    is_array = hasattr(value, "shape")
    return is_known and hasattr(value, "__iter__") and not is_array


def shuffles_itself(dataset):
    """Whether a dataset determines the order of its batches itself, not Keras."""
    if isinstance(dataset, MappedTargets):
        return shuffles_itself(dataset.dataset)
    return not isinstance(dataset, keras.utils.PyDataset)


def is_endless(dataset):
    """Whether a dataset is infinite."""
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches is None
    # TensorFlow's value for an infinite dataset.
    return hasattr(dataset, "cardinality") and int(dataset.cardinality()) == -1


def is_loader(dataset):
    """Whether a dataset is a PyTorch `DataLoader`."""
    return any(
        each.__module__.startswith("torch.utils.data") and each.__name__ == "DataLoader"
        for each in type(dataset).__mro__
    )


def first_targets(dataset):
    """Returns the targets of the first batch."""
    for batch in batches_of(dataset):
        targets = keras.utils.unpack_x_y_sample_weight(batch)[1]
        if targets is None:
            raise ValueError(
                "Expected a dataset of batches `(x, y)`, inputs and targets. "
                f"Received: a dataset of inputs only, {dataset!r}"
            )
        return targets
    raise ValueError(f"The dataset has no batches. Received: {dataset!r}")


def targets_of(samples, output):
    """Returns all targets of a `LabelOutput` as a NumPy array.

    For a dataset, this takes a pass over it.
    """
    if not is_dataset(samples):
        return np.asarray(output.of(samples[1]))
    batches = map(keras.utils.unpack_x_y_sample_weight, batches_of(samples))
    return np.concatenate([to_numpy(output.of(y)) for _, y, _ in batches])


def count_of(samples, output):
    """Returns the number of samples.

    For a dataset of known length, it is computed from the size of the first batch.
    """
    length = length_of(samples) if is_dataset(samples) else None
    if length is None:
        return len(targets_of(samples, output))
    return length * len(output.of(first_targets(samples)))


def predicted(model, samples, output):
    """Returns targets and predictions of a `LabelOutput`, and a number that identifies
    the samples. For a dataset, this number does not depend on the order."""
    if not is_dataset(samples):
        predictions = output.of(model.predict(samples[0], batch_size=500, verbose=0))
        return targets_of(samples, output), predictions, checksum(samples)
    targets, predictions, number = [], [], 0
    for batch in batches_of(samples):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        x = keras.tree.map_structure(_as_input, x)
        targets.append(to_numpy(output.of(y)))
        predictions.append(to_numpy(output.of(model.predict_on_batch(x))))
        number += sum(map(_number_of_rows, keras.tree.flatten((x, targets[-1]))))
    return np.concatenate(targets), np.concatenate(predictions), number % 2**32


def _as_input(leaf):
    """Converts a tensor of another library to an array that a model accepts."""
    return leaf if keras.ops.is_tensor(leaf) else to_numpy(leaf)


def _number_of_rows(leaf):
    # For ragged tensors, use all values of the batch.
    leaf = to_numpy(getattr(leaf, "flat_values", leaf))
    if leaf.dtype.kind == "O":
        leaf = leaf.astype(str)
    return sum(zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in leaf)


def checksum(arrays):
    """Returns a checksum of an array, or of a structure of arrays."""
    number = 0
    for array in map(np.asarray, keras.tree.flatten(arrays)):
        if array.dtype.kind == "O":
            array = array.astype(str)
        kind = f"{array.dtype}{array.shape}".encode()
        number = zlib.crc32(array.tobytes(), zlib.crc32(kind, number))
    return number


def take(inputs, indices):
    """Selects samples from an array, or from a structure of arrays."""
    return keras.tree.map_structure(lambda array: np.asarray(array)[indices], inputs)


#: The number of batches that Keras may read before it trains.
_LOOKED_AT = 4


class MappedTargets(keras.utils.PyDataset):
    """Wraps a dataset and replaces its targets.

    Args:
        dataset: A dataset of known length.
        function: `fn(targets)` that maps NumPy arrays.
    """

    def __init__(self, dataset, function):
        super().__init__()
        if length_of(dataset) is None:
            raise NotApplicableError("needs a dataset of known length")
        self.dataset, self._function = dataset, function
        self._batches = iter(())
        self._position = len(self)
        self._first: list = []

    def __len__(self):
        return length_of(self.dataset)

    def __getitem__(self, index):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(self._batch(index))
        targets = self._function(to_numpy(y))
        parts = (x, targets) if sample_weight is None else (x, targets, sample_weight)
        return keras.tree.map_structure(to_numpy, parts)

    def _batch(self, index):
        if not shuffles_itself(self.dataset):
            return self.dataset[index]
        # Keras requests batches in order, except that it reads the first ones before.
        if index == 0 and self._position == len(self):
            self._batches, self._position = batches_of(self.dataset), 0
            self._first = []
        batch: Any = None
        while self._position <= index:
            batch = next(self._batches)
            self._position += 1
            if self._position <= _LOOKED_AT:
                self._first.append(batch)
        return self._first[index] if index < _LOOKED_AT else batch

    def on_epoch_end(self):
        if not shuffles_itself(self.dataset):
            self.dataset.on_epoch_end()
