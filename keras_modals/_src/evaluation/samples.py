"""Samples: a pair of arrays, inputs and targets, or a dataset that gives batches of
such and is not held in memory."""

import zlib
from typing import Any

import keras
import numpy as np

from keras_modals._src.data.sources import batches_of, length_of, to_numpy
from keras_modals._src.evaluation.errors import NotApplicableError

#: Where datasets come from that Keras's `fit` takes.
_LIBRARIES = ("tensorflow.", "torch.utils.data.", "grain.")


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


def first_targets(dataset):
    """The targets of its first batch, NumPy; `None` where there are none."""
    for batch in batches_of(dataset):
        return to_numpy(keras.utils.unpack_x_y_sample_weight(batch)[1])
    raise ValueError(f"The dataset has no batches. Received: {dataset!r}")


def targets_of(samples):
    """All targets, NumPy, which a pass over a dataset collects."""
    if not is_dataset(samples):
        return np.asarray(samples[1])
    return np.concatenate(
        [
            to_numpy(keras.utils.unpack_x_y_sample_weight(batch)[1])
            for batch in batches_of(samples)
        ]
    )


def count_of(samples):
    """How many there are; by its first batch, where a dataset says how many it has."""
    length = length_of(samples) if is_dataset(samples) else None
    if length is None:
        return len(targets_of(samples))
    return length * len(first_targets(samples))


def predicted(model, samples):
    """Targets, predictions, and a number that samples are known by: of a dataset, in
    whatever order it gives them."""
    if not is_dataset(samples):
        x, y = samples
        return y, model.predict(x, batch_size=500, verbose=0), checksum(samples)
    targets, outputs, number = [], [], 0
    for batch in batches_of(samples):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        targets.append(to_numpy(y))
        outputs.append(to_numpy(model.predict_on_batch(_as_inputs(x))))
        number += sum(map(_number_of_rows, keras.tree.flatten((x, targets[-1]))))
    return np.concatenate(targets), np.concatenate(outputs), number % 2**32


def _as_inputs(x):
    """What `predict_on_batch` takes, on JAX no tensors of other libraries."""
    is_jax = keras.backend.backend() == "jax"
    return keras.tree.map_structure(to_numpy, x) if is_jax else x


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
        self._position = self.num_batches
        self._first: list = []

    @property
    def num_batches(self):
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
        if index == 0 and self._position == self.num_batches:
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


# Splits ------------------------------------------------------------------------------


def split_dataset(dataset, kind, shares, seed):
    """Three datasets of different samples, none of which is loaded for it.

    Args:
        dataset: A `PyDataset`, whose batches are split, or a `DataLoader` of samples
            with an index, which are split with the labels in proportion.
        kind, shares, seed: As in `Kind.split`.
    """
    if isinstance(dataset, keras.utils.PyDataset):
        return _split_batches(dataset, shares, seed)
    return _split_loader(dataset, kind, shares, seed)


def can_be_split(dataset):
    """Whether parts of it can be had by index."""
    if isinstance(dataset, keras.utils.PyDataset):
        return (dataset.num_batches or 0) >= 3
    return is_loader(dataset) and hasattr(dataset.dataset, "__getitem__")


def is_loader(dataset):
    """Whether a dataset is a `DataLoader` of PyTorch."""
    return any(
        each.__module__.startswith("torch.utils.data") and each.__name__ == "DataLoader"
        for each in type(dataset).__mro__
    )


def _split_batches(dataset, shares, seed):
    count = dataset.num_batches
    order = np.random.default_rng(seed).permutation(count)
    sizes = [max(1, round(share * count)) for share in shares]
    test, validation, train = np.split(order, np.cumsum([sizes[1], sizes[0]]))
    return [SomeBatches(dataset, chosen) for chosen in (train, validation, test)]


class SomeBatches(keras.utils.PyDataset):
    """Some of the batches of a dataset. It is not told when an epoch ends: samples
    that change their batch would change their part."""

    def __init__(self, dataset, indices):
        super().__init__()
        self._dataset, self._indices = dataset, indices

    @property
    def num_batches(self):
        return len(self._indices)

    def __getitem__(self, index):
        return self._dataset[int(self._indices[index])]


def _split_loader(loader, kind, shares, seed):
    import torch

    def part(indices, shuffle=False):
        generator = torch.Generator()
        generator.manual_seed(seed)
        return torch.utils.data.DataLoader(
            torch.utils.data.Subset(loader.dataset, [int(i) for i in indices]),
            batch_size=loader.batch_size,
            shuffle=shuffle,
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            generator=generator,
        )

    targets = targets_of(part(range(len(loader.dataset))))
    kind.check(targets)
    is_shuffled = isinstance(loader.sampler, torch.utils.data.RandomSampler)
    train, *others = kind.split(targets, shares, seed)
    return [part(train, is_shuffled), *map(part, others)]
