"""`keras_modals.backend` on TensorFlow.

`variable.assign(keras.ops.scatter_update(...))` copies the whole variable, and
`keras.ops.take` reads it whole, so that a step would cost more the larger the
variable. TensorFlow's resource gather and scatter touch the given rows only.

`keras.random` leaves the choice of algorithm to TensorFlow, which under XLA on a
CPU takes a slow one; Philox is much faster there. A seed gives other numbers with
XLA than without, in either case.
"""

import tensorflow as tf


def take_rows(variable, indices):
    return tf.gather(variable.value, indices)


def put_rows(variable, indices, rows, after=()):
    for read in after:
        # True in any case, but XLA cannot know: without a data dependency on what
        # was read before, it copies the variable to write to it.
        unknown = tf.cast(tf.math.is_nan(tf.reduce_sum(read)), indices.dtype)
        indices = tf.minimum(indices, variable.shape[0] - 1 + unknown)
    variable.value.scatter_nd_update(tf.expand_dims(indices, -1), rows)


def add_entries(tensor, indices, values):
    return tf.tensor_scatter_nd_add(tensor, indices, values)


def uniform(shape, seed):
    return tf.random.stateless_uniform(
        shape, seed=seed.next(), dtype=tf.float32, alg="philox"
    )


def normal(shape, seed):
    return tf.random.stateless_normal(
        shape, seed=seed.next(), dtype=tf.float32, alg="philox"
    )
