"""What each operation looks up, in the class memory or the batch, to move a latent."""

from functools import cached_property

from keras import ops

from keras_modals import backend
from keras_modals.labels import IGNORED
from keras_modals.layers.class_memory import ClassStatistics, is_finite
from keras_modals.layers.draw import other_index, uniform_index


class Rows:
    """A batch, once per view, and what a layer's memory says of its classes.

    Read only where an operation asks for it, and once per sample, not once per view.

    Attributes:
        layer: The `LatentAugmentation`.
        batch_latents: float32 `(batch, features)`.
        batch_labels: int32 `(batch,)`.
        labels: int32 `(views * batch,)`; row `v * batch + i` is view `v` of sample `i`.
    """

    def __init__(self, layer, latents, labels, views):
        self.layer = layer
        self.batch_latents = latents
        self.batch_labels = labels
        self.labels = backend.tile_rows(labels, views)
        self._views = views

    @cached_property
    def samples(self):
        """The sample of each row, its index in the batch."""
        indices = ops.arange(ops.shape(self.batch_labels)[0], dtype="int32")
        return backend.tile_rows(indices, self._views)

    def mixing_partner(self, draw):
        """The sample that each row is mixed with: another than its own, if any."""
        size = ops.shape(self.batch_labels)[0]
        return other_index(draw.mixing, self.samples, size)

    @cached_property
    def counts(self):
        return backend.tile_rows(
            self.layer.memory.counts(self.batch_labels), self._views
        )

    @cached_property
    def statistics(self):
        statistics = self.layer.memory.statistics(self.batch_labels)
        return ClassStatistics(
            *(backend.tile_rows(value, self._views) for value in statistics)
        )


# Each is a function of the rows, the latents as they are now and a `Draw`. It returns
# where the operation is possible and what the operation takes after the magnitude.


def hard_interpolation(rows, latents, draw):
    memory = rows.layer.memory
    count, mean, _ = rows.statistics
    labels = rows.labels[:, None, None]
    slots = uniform_index(draw.hard, count[:, None, None])
    hardness = memory.take_hardness(labels, slots)
    score = hardness / rows.layer.temperature + draw.gumbel
    winner = ops.argmax(score, axis=-1)[..., None]
    slots = ops.take_along_axis(slots, winner, axis=-1)[..., 0]
    candidates = memory.take_latents(labels[..., 0], slots)
    similarity = _cosine(candidates - mean[:, None], (latents - mean)[:, None])
    nearest = ops.argmax(ops.stop_gradient(similarity), axis=-1)[:, None, None]
    return count >= 1, ops.take_along_axis(candidates, nearest, axis=1)[:, 0]


def hard_extrapolation(rows, latents, draw):
    return rows.statistics.count >= 1, rows.statistics.mean


def gaussian_noise(rows, latents, draw):
    return rows.statistics.count >= 2, rows.statistics.deviation, draw.noise


def difference_transform(rows, latents, draw):
    memory = rows.layer.memory
    if rows.layer.partners == "any":
        sample = uniform_index(draw.partner, ops.shape(rows.batch_labels)[0])
        labels = backend.take_rows(rows.batch_labels, sample)
        count = memory.counts(labels)
    else:
        labels, count = rows.labels, rows.counts
    first = uniform_index(draw.pair[:, 0], count)
    others = uniform_index(draw.pair[:, 1], count - 1)
    second = (first + 1 + others) % ops.maximum(count, 1)
    return (
        count >= 2,
        memory.take_latents(labels, first),
        memory.take_latents(labels, second),
    )


def class_mixing(rows, latents, draw):
    partner = rows.mixing_partner(draw)
    usable = (rows.batch_labels != IGNORED) & is_finite(rows.batch_latents)
    possible = backend.take_rows(usable, partner) & (partner != rows.samples)
    return possible, backend.take_rows(rows.batch_latents, partner)


def _cosine(x, y):
    norms = ops.sum(ops.square(x), axis=-1) * ops.sum(ops.square(y), axis=-1)
    return ops.sum(x * y, axis=-1) / ops.sqrt(norms + 1e-12)
