"""Helpers for tests that depend on the Keras backend."""

import keras
import pytest
from keras import ops

BACKEND = keras.backend.backend()


def tensorflow_only(test):
    """Marks a test of what only TensorFlow has: graphs, strategies, string tensors."""
    skip = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow itself")
    return pytest.mark.backend(skip(test))


def tensor(value, dtype="float32"):
    return ops.convert_to_tensor(value, dtype)


def array(value):
    return ops.convert_to_numpy(value)


def gradients(function, *points):
    """Returns the value of a scalar function of tensors, and its gradient with respect
    to each, as NumPy arrays."""
    points = [tensor(point) for point in points]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            for point in points:
                tape.watch(point)
            value = function(*points)
        result = tape.gradient(value, points)
    elif BACKEND == "jax":
        import jax

        value, result = jax.value_and_grad(function, tuple(range(len(points))))(*points)
    else:
        for point in points:
            point.requires_grad_(True)
        value = function(*points)
        value.backward()
        result = [point.grad for point in points]
    return array(value), [array(gradient) for gradient in result]


def compiled(function, variables=(), **options):
    """Returns the function, compiled like a train step, except on PyTorch.

    Args:
        function: Function of tensors.
        variables: The Keras variables that it writes to.
        **options: Arguments of `tf.function`.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, **options)
    if BACKEND == "torch":
        return lambda *arguments: function(*map(ops.convert_to_tensor, arguments))

    import jax

    @jax.jit
    def stateless(values, arguments):
        with keras.StatelessScope(zip(variables, values)) as scope:
            result = function(*arguments)
        return result, [scope.get_current_value(v) for v in variables]

    def stateful(*arguments):
        result, values = stateless([v.value for v in variables], arguments)
        for variable, value in zip(variables, values):
            variable.assign(value)
        return result

    return stateful
