"""Indices that uniform numbers in `[0, 1)` stand for."""

from keras import ops


def uniform_index(uniform, size):
    """The index in `[0, size)` that a uniform number in `[0, 1)` stands for; or 0.

    The product never rounds up to `size`: the largest float32 below 1 is `1 - 2**-24`.
    """
    if not isinstance(size, int):
        size = ops.cast(size, "float32")
    return ops.cast(uniform * size, "int32")


def other_index(uniform, index, size):
    """Another index in `[0, size)` than `index`; the same one if there is no other."""
    if not isinstance(size, int):
        size = ops.cast(size, "int32")
    return (index + 1 + uniform_index(uniform, size - 1)) % size
