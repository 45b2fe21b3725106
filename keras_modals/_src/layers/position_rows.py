"""Rows of latents where each position of a sample has a label."""

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED

#: Of how many positions a memory and terms see the latents, unless a layer says it.
MAX_ROWS = 1024


def check_positions(name, latents, labels):
    """Refuses latents of other positions than those of the labels, at the layer of a
    name."""
    sizes = [each.shape[0] for each in (latents, labels)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"At the layer '{name}' there are other positions than those that have a "
            "label: operations that keep labels, memories and terms need the same "
            "ones. Put it where latents have the axes of the labels. "
            f"Received: {sizes[0]} positions, {sizes[1]} labels in a batch"
        )


def without(labels, samples_or_positions, batch):
    """Labels of positions, `IGNORED` where a sample or a position is left out.

    Args:
        labels: `(batch * positions, ...)`.
        samples_or_positions: Boolean `(batch, ...)`.
        batch: The number of samples.
    """
    left_out = ops.reshape(samples_or_positions, (batch, -1))
    by_sample = ops.reshape(labels, (batch, -1, *labels.shape[1:]))
    if len(labels.shape) > 1:
        left_out = left_out[..., None]
    by_sample = ops.where(left_out, IGNORED, by_sample)
    return ops.reshape(by_sample, ops.shape(labels))


def has_label(labels):
    """Which positions have a label, boolean `(n,)`, of groups or of rows."""
    return (labels if len(labels.shape) == 1 else labels[:, 0]) != IGNORED


def draw_rows(known, size, seed):
    """Some positions, drawn alike among those that are known, as long as there are
    some: int32 indices, ascending.

    Args:
        known: Boolean `(n,)`.
        size: Integer, how many, at most.
        seed: A `keras.random.SeedGenerator`.
    """
    number = ops.shape(known)[0]
    size = min(size, number) if isinstance(number, int) else ops.minimum(size, number)
    keys = ops.cast(known, "float32") + backend.uniform(ops.shape(known), seed)
    return ops.sort(ops.cast(ops.top_k(keys, size)[1], "int32"))
