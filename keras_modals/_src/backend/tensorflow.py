"""`keras_modals._src.backend` on TensorFlow.

`variable.assign(keras.ops.scatter_update(...))` copies the whole variable, and
`keras.ops.take` reads all of it, so the cost of a step would grow with the size of
the variable. TensorFlow's resource gather and scatter touch only the given rows.

`keras.random` leaves the choice of algorithm to TensorFlow, which under XLA on a CPU
chooses a slow one; Philox is much faster there. In either case, a seed gives
different numbers with XLA than without.
"""

import contextlib
import logging

import keras
import tensorflow as tf

from keras_modals._src.backend.generic import branch_index as branch_index
from keras_modals._src.backend.generic import without_gradients as without_gradients


def take_rows(table, indices):
    return tf.gather(
        table.value if isinstance(table, keras.Variable) else table, indices
    )


def copy_rows(predictions):
    return _also_of_logits(tf.identity, predictions)


def slice_rows(predictions, start, size):
    return _also_of_logits(lambda rows: rows[start : start + size], predictions)


def tile_rows(predictions, copies):
    if copies == 1:
        return predictions
    return _also_of_logits(lambda rows: tf.concat([rows] * copies, 0), predictions)


def _also_of_logits(function, predictions):
    """Applies a function to predictions and to the logits attached to them.

    Keras's losses use the logits attached to the output of a softmax instead of its
    logarithm."""
    rows = function(predictions)
    logits = getattr(predictions, "_keras_logits", None)
    if logits is not None:
        rows._keras_logits = function(logits)
    return rows


def put_rows(variable, indices, rows, after=()):
    for read in after:
        # Has no effect, but XLA cannot know: without a data dependency on what was
        # read before, it copies the variable before writing.
        unknown = tf.cast(tf.math.is_nan(tf.reduce_sum(read)), indices.dtype)
        indices = tf.minimum(indices, variable.shape[0] - 1 + unknown)
    # The handle is that of the replica's own copy.
    tf.raw_ops.ResourceScatterNdUpdate(
        ref=variable.value.handle,
        indices=tf.expand_dims(indices, -1),
        updates=tf.cast(rows, variable.value.dtype),
    )


def add_entries(tensor, indices, values):
    return tf.tensor_scatter_nd_add(tensor, indices, values)


def segment_sum(values, segments, count):
    return tf.math.unsorted_segment_sum(values, segments, count)


def invert(permutation):
    # TensorFlow's own `invert_permutation` runs on the host, even with a GPU.
    return tf.scatter_nd(
        permutation[:, None], tf.range(tf.size(permutation)), tf.shape(permutation)
    )


def num_replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def gather(tensors):
    if num_replicas() == 1:
        return tensors
    context = tf.distribute.get_replica_context()
    return tuple(context.all_gather(tensor, axis=0) for tensor in tensors)


@contextlib.contextmanager
def many_models():
    # TensorFlow mistakes the functions of several models for excessive retracing.
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_not_about_retracing)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_about_retracing)


def _is_not_about_retracing(record):
    return "triggered tf.function retracing" not in record.getMessage()


def uniform(shape, seed):
    return tf.random.stateless_uniform(
        shape, seed=_next(seed), dtype=tf.float32, alg="philox"
    )


def normal(shape, seed):
    return tf.random.stateless_normal(
        shape, seed=_next(seed), dtype=tf.float32, alg="philox"
    )


def _next(seed):
    state = seed.next()
    if num_replicas() == 1:
        return state
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    # The replicas' copies of the state are equal. A large prime avoids the seeds of
    # other layers, which are often small consecutive numbers.
    return state + tf.cast(tf.stack([1_000_003 * replica, 0]), state.dtype)
