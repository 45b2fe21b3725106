"""Conversion of uniform numbers in `[0, 1)` to indices."""

from keras import ops


def uniform_index(uniform, size):
    """Maps a uniform number in `[0, 1)` to an index in `[0, size)`; 0 if `size` is 0.

    The product never rounds up to `size`: the largest float32 below 1 is `1 - 2**-24`.
    """
    if not isinstance(size, int):
        size = ops.cast(size, "float32")
    return ops.cast(uniform * size, "int32")


def other_index(uniform, index, size):
    """Maps a uniform number to an index in `[0, size)` other than `index`.

    Returns `index` itself if there is no other."""
    if not isinstance(size, int):
        size = ops.cast(size, "int32")
    return (index + 1 + uniform_index(uniform, size - 1)) % size
