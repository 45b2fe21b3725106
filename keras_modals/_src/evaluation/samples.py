"""Samples: a pair of arrays, inputs and targets, or a dataset that gives batches of
such and is not held in memory."""

import zlib
from typing import Any

import keras
import numpy as np

from keras_modals._src.data.sources import batches_of, length_of, to_numpy
from keras_modals._src.evaluation.errors import NotApplicableError

#: Where datasets come from that Keras's `fit` takes.
_LIBRARIES = ("tensorflow.", "torch.utils.data.")


def is_dataset(value):
    """Whether a value gives batches, and can be iterated over again and again."""
    if isinstance(value, keras.utils.PyDataset):
        return True
    modules = [each.__module__ + "." for each in type(value).__mro__]
    is_known = any(module.startswith(_LIBRARIES) for module in modules)
    is_array = hasattr(value, "shape")
    return is_known and hasattr(value, "__iter__") and not is_array


def shuffles_itself(dataset):
    """Whether the order of a dataset's batches is its own, not Keras's to draw."""
    if isinstance(dataset, MappedTargets):
        return shuffles_itself(dataset.dataset)
    return not isinstance(dataset, keras.utils.PyDataset)


def is_endless(dataset):
    """Whether a dataset has no last batch."""
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches is None
    # TensorFlow's number for it.
    return hasattr(dataset, "cardinality") and int(dataset.cardinality()) == -1


def is_loader(dataset):
    """Whether a dataset is a `DataLoader` of PyTorch."""
    return any(
        each.__module__.startswith("torch.utils.data") and each.__name__ == "DataLoader"
        for each in type(dataset).__mro__
    )


def first_targets(dataset):
    """The targets of its first batch."""
    for batch in batches_of(dataset):
        targets = keras.utils.unpack_x_y_sample_weight(batch)[1]
        if targets is None:
            raise ValueError(
                "Expected a dataset of batches `(x, y)`, inputs and targets. "
                f"Received: one of inputs alone, {dataset!r}"
            )
        return targets
    raise ValueError(f"The dataset has no batches. Received: {dataset!r}")


def targets_of(samples, output):
    """All targets of a `LabelOutput`, NumPy, which a pass over a dataset collects."""
    if not is_dataset(samples):
        return np.asarray(output.of(samples[1]))
    batches = map(keras.utils.unpack_x_y_sample_weight, batches_of(samples))
    return np.concatenate([to_numpy(output.of(y)) for _, y, _ in batches])


def count_of(samples, output):
    """How many there are; by its first batch, where a dataset says how many it has."""
    length = length_of(samples) if is_dataset(samples) else None
    if length is None:
        return len(targets_of(samples, output))
    return length * len(output.of(first_targets(samples)))


def predicted(model, samples, output):
    """Targets and predictions of a `LabelOutput`, and a number that samples are known
    by: of a dataset, in whatever order it gives them."""
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
    """What a model takes: of another library's tensor, the array."""
    return leaf if keras.ops.is_tensor(leaf) else to_numpy(leaf)


def _number_of_rows(leaf):
    # Of ragged tensors, all values of the batch.
    leaf = to_numpy(getattr(leaf, "flat_values", leaf))
    if leaf.dtype.kind == "O":
        leaf = leaf.astype(str)
    return sum(zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in leaf)


def checksum(arrays):
    """A number for the values of arrays, or of a structure of them."""
    number = 0
    for array in map(np.asarray, keras.tree.flatten(arrays)):
        if array.dtype.kind == "O":
            array = array.astype(str)
        kind = f"{array.dtype}{array.shape}".encode()
        number = zlib.crc32(array.tobytes(), zlib.crc32(kind, number))
    return number


def take(inputs, indices):
    """The samples of an array, or of a structure of arrays."""
    return keras.tree.map_structure(lambda array: np.asarray(array)[indices], inputs)


#: How many batches Keras may look at before it trains.
_LOOKED_AT = 4


class MappedTargets(keras.utils.PyDataset):
    """The batches of a dataset with other targets.

    Args:
        dataset: A dataset that says how many batches it has.
        function: `fn(targets)`, of NumPy arrays.
    """

    def __init__(self, dataset, function):
        super().__init__()
        if length_of(dataset) is None:
            raise NotApplicableError("needs a dataset that says how long it is")
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
        # Asked for in order, but for the first ones, which Keras looks at before.
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
