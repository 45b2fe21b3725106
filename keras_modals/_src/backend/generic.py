"""The portable version of `keras_modals._src.backend`, for any Keras backend."""

import contextlib

import keras
from keras import ops


def take_rows(table, indices):
    return ops.take(table, indices, axis=0)


def copy_rows(predictions):
    return ops.copy(predictions)


def slice_rows(predictions, start, size):
    return predictions[start : start + size]


def tile_rows(predictions, copies):
    return ops.concatenate([predictions] * copies) if copies > 1 else predictions


def put_rows(variable, indices, rows, after=()):
    variable.assign(ops.scatter_update(variable, ops.expand_dims(indices, -1), rows))


def add_entries(tensor, indices, values):
    return tensor + ops.scatter(indices, values, ops.shape(tensor))


def segment_sum(values, segments, count):
    return ops.segment_sum(values, segments, num_segments=count)


def invert(permutation):
    shape = ops.shape(permutation)
    numbers = ops.arange(shape[0], dtype="int32")
    return ops.scatter(ops.expand_dims(permutation, -1), numbers, shape)


def without_gradients():
    return contextlib.nullcontext()


def num_replicas():
    return 1


def gather(tensors):
    return tensors


def branch_index(index):
    return index


def many_models():
    return contextlib.nullcontext()


def uniform(shape, seed):
    return keras.random.uniform(shape, dtype="float32", seed=seed)


def normal(shape, seed):
    return keras.random.normal(shape, dtype="float32", seed=seed)
