"""Application of a preprocessor to raw samples, such as texts.

A preprocessor works as in KerasHub's tasks: it is a layer, or another callable, that
takes a batch `(x, y=..., sample_weight=...)` and returns it packed as Keras packs a
batch, or that takes `x` alone.
"""

import inspect

import keras
import numpy as np

from keras_modals._src.arguments import shown
from keras_modals._src.data.sources import to_numpy


def preprocess(preprocessor):
    """Returns `fn(x, y=None, sample_weight=None)` that preprocesses a batch."""
    call = getattr(preprocessor, "call", preprocessor)
    takes_labels = {"y", "sample_weight"} <= inspect.signature(call).parameters.keys()

    def batch(x, y=None, sample_weight=None):
        if takes_labels:
            return preprocessor(x, y=y, sample_weight=sample_weight)
        return keras.utils.pack_x_y_sample_weight(preprocessor(x), y, sample_weight)

    return batch


def as_arrays(structure):
    """Converts a structure as `tf.data` reads it: tuples and dicts hold arrays, and a
    list is an array."""
    if isinstance(structure, tuple):
        return tuple(as_arrays(each) for each in structure)
    if isinstance(structure, dict):
        return {name: as_arrays(each) for name, each in structure.items()}
    return to_numpy(structure)


def preprocessed(preprocessor, arguments):
    """Returns arguments of `evaluate` or `predict` with preprocessed data.

    Args:
        preprocessor: The preprocessor.
        arguments: Dict of the arguments, by name.
    """
    batch_size = arguments.get("batch_size")
    if not _is_stream(arguments.get("x")):
        samples, arguments = _samples(arguments)
        arguments["x"] = samples.batch(batch_size or 32)
    return {**arguments, "x": _mapped(preprocessor, arguments["x"])}


def preprocessed_fit(preprocessor, arguments):
    """Same as `preprocessed`, for `fit`.

    Arrays are shuffled only if `shuffle=True` is passed, as in KerasHub."""
    arguments = dict(arguments)
    batch_size = arguments.get("batch_size") or 32
    validation = arguments.pop("validation_data", None)
    validation_size = arguments.pop("validation_batch_size", None) or batch_size
    if not _is_stream(arguments.get("x")):
        samples, arguments = _samples(arguments)
        share = arguments.pop("validation_split", None)
        if share and validation is None:
            samples, validation = _split(samples, share)
            validation = validation.batch(validation_size)
        if arguments.get("shuffle"):
            samples = samples.shuffle(len(samples))
        arguments |= {"x": samples.batch(batch_size), "shuffle": False}
    arguments["x"] = _mapped(preprocessor, arguments["x"])
    if validation is not None:
        names = ("x", "y", "sample_weight")
        parts = keras.utils.unpack_x_y_sample_weight(validation)
        given = {**dict(zip(names, parts, strict=True)), "batch_size": validation_size}
        arguments["validation_data"] = preprocessed(preprocessor, given)["x"]
    return arguments


def _is_stream(x):
    """Whether data come in batches."""
    import tensorflow as tf

    return isinstance(x, (tf.data.Dataset, keras.utils.PyDataset))


def _samples(arguments):
    """A `tf.data.Dataset` of the samples in arrays, and the other arguments."""
    import tensorflow as tf

    others = dict(arguments)
    others.pop("batch_size", None)
    parts = [others.pop(name, None) for name in ("x", "y", "sample_weight")]
    arrays = keras.utils.pack_x_y_sample_weight(*map(as_arrays, parts))
    if any(np.ndim(leaf) == 0 for leaf in keras.tree.flatten(arrays)):
        raise ValueError(
            "Data to preprocess must be arrays, lists or tensors with one entry for "
            "each sample, a `tf.data.Dataset`, or a `keras.utils.PyDataset`. "
            f"Received: x={shown(parts[0])}"
        )
    return tf.data.Dataset.from_tensor_slices(arrays), others


def _split(samples, share):
    """Splits off a fraction of the samples at the end for validation."""
    count = int(len(samples) * (1 - share))
    if count in (0, len(samples)):
        raise ValueError(
            "`validation_split` must leave samples on both sides. Received: "
            f"validation_split={share}, with {len(samples)} samples"
        )
    return samples.take(count), samples.skip(count)


def _mapped(preprocessor, stream):
    """A stream of preprocessed batches."""
    batch = preprocess(preprocessor)
    if isinstance(stream, keras.utils.PyDataset):
        return _PreprocessedDataset(stream, batch)
    import tensorflow as tf

    stream = stream.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return stream.prefetch(tf.data.AUTOTUNE)


class _PreprocessedDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` whose batches are preprocessed by `batch`."""

    def __init__(self, dataset, batch):
        super().__init__(
            dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size
        )
        self._dataset, self._batch = dataset, batch

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        batch = keras.utils.unpack_x_y_sample_weight(self._dataset[index])
        return keras.tree.map_structure(to_numpy, self._batch(*batch))

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()
