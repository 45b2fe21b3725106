"""Rows of latents for labels of positions."""

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED

#: Default number of positions whose latents the memory and terms see.
MAX_ROWS = 1024


def check_positions(name, latents, labels):
    """Raises if latents and labels have different positions."""
    sizes = [each.shape[0] for each in (latents, labels)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"At the layer '{name}', the positions of the latents differ from those of "
            "the labels. Operations that keep labels, memories, and terms need the "
            "same positions: put the layer where latents have the axes of the labels. "
            f"Received: {sizes[0]} positions, {sizes[1]} labels in a batch"
        )


def without(labels, samples_or_positions, batch):
    """Sets the labels of left-out samples or positions to `IGNORED`.

    Args:
        labels: `(batch * positions, ...)`.
        samples_or_positions: Boolean `(batch, ...)`, what to leave out.
        batch: The number of samples.
    """
    left_out = ops.reshape(samples_or_positions, (batch, -1))
    by_sample = ops.reshape(labels, (batch, -1, *labels.shape[1:]))
    if len(labels.shape) > 1:
        left_out = left_out[..., None]
    by_sample = ops.where(left_out, IGNORED, by_sample)
    return ops.reshape(by_sample, ops.shape(labels))


def has_label(labels):
    """Which positions have a label, boolean `(n,)`, from groups or rows."""
    return (labels if len(labels.shape) == 1 else labels[:, 0]) != IGNORED


def draw_rows(known, size, seed):
    """Draws positions uniformly, from known ones as long as there are enough.

    Args:
        known: Boolean `(n,)`.
        size: Integer, the largest number of positions to draw.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        int32 indices, ascending.
    """
    number = ops.shape(known)[0]
    size = min(size, number) if isinstance(number, int) else ops.minimum(size, number)
    keys = ops.cast(known, "float32") + backend.uniform(ops.shape(known), seed)
    return ops.sort(ops.cast(ops.top_k(keys, size)[1], "int32"))
