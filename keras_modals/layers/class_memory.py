from collections import namedtuple

import keras
from keras import ops

from keras_modals import backend
from keras_modals.labels import IGNORED

#: Rows of the moments table. `LAP_*` hold what arrived since the last lap began.
SHIFT, SUM, SQUARE_SUM, LAP_SUM, LAP_SQUARE_SUM = range(5)
#: Columns of the counters table.
COUNT, NEXT_SLOT, LAP_COUNT = range(3)

#: Beyond this, and at NaN, a latent is not finite for us: its square would overflow.
LARGEST_LATENT = 1e15

ClassStatistics = namedtuple("ClassStatistics", ["count", "mean", "deviation"])


@keras.saving.register_keras_serializable("keras_modals")
class ClassMemory(keras.layers.Layer):
    """The last latents of every class, their hardness, mean and deviation.

    Each class has a ring buffer of `memory_size` latents. Mean and standard
    deviation are those of the buffer's content, kept by adding what arrives and
    subtracting what leaves, so that a step costs the same however large the memory
    is. Two measures keep them exact after any number of steps: sums are taken
    around a shift close to the class's mean, and a second pair of sums counts only
    what arrived since the last lap of the ring; when a lap is complete it *is* the
    content, replaces the first pair, and the class is centred anew.

    All state is float32 (or int32), whatever the dtype policy. The last row of every
    table is scratch: what must not be remembered is written there.

    Args:
        num_classes: Integer, the number of classes.
        memory_size: Integer, how many latents to keep per class.

    Input shape:
        `(batch, features)`.
    """

    def __init__(self, num_classes, memory_size, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.memory_size = memory_size

    def build(self, latents_shape):
        features = latents_shape[-1]
        classes = self.num_classes + 1
        slots = self.num_classes * self.memory_size + 1

        def state(name, shape, dtype="float32"):
            return self.add_weight(
                name=name,
                shape=shape,
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

        self.latents = state("latents", (slots, features))
        self.hardness = state("hardness", (slots,))
        self.moments = state("moments", (classes, 5, features))
        self.counters = state("counters", (classes, 3), "int32")

    def counts(self, labels):
        """How many latents each label's class holds, int32, shape of `labels`."""
        counters = backend.take_rows(self.counters, self._class_rows(labels))
        count = counters[..., COUNT]
        return ops.where(labels == IGNORED, ops.zeros_like(count), count)

    def statistics(self, labels):
        """Count, mean and deviation of each label's class.

        Returns:
            `ClassStatistics` of int32 `count`, shape `(n,)`, and float32 `mean` and
            `deviation`, shape `(n, features)`; zeros for a class not yet seen.
        """
        moments = backend.take_rows(self.moments, self._class_rows(labels))
        count = self.counts(labels)
        divisor = ops.cast(ops.maximum(count, 1), "float32")[:, None]
        offset = moments[:, SUM] / divisor
        variance = moments[:, SQUARE_SUM] / divisor - ops.square(offset)
        return ClassStatistics(
            count,
            moments[:, SHIFT] + offset,
            ops.sqrt(ops.maximum(variance, 0.0)),
        )

    def take_latents(self, labels, slots):
        """The latents in `slots` (below `counts(labels)`) of each label's class."""
        return backend.take_rows(self.latents, self._slot_rows(labels, slots))

    def take_hardness(self, labels, slots):
        """The hardness of the latents in `slots` of each label's class."""
        return backend.take_rows(self.hardness, self._slot_rows(labels, slots))

    def update(self, latents, labels, hardness, after=()):
        """Lets a batch in, oldest latents of the same classes out.

        Args:
            latents: `(batch, features)`. A row that is not finite is left out.
            labels: int32 `(batch,)`. An `IGNORED` sample is left out.
            hardness: `(batch,)`, larger is harder.
            after: Tensors that depend on what was read from the memory in this step.
                Writing after them lets XLA write in place: see `backend`.
        """
        latents = ops.cast(latents, "float32")
        hardness = ops.cast(hardness, "float32")
        known = (labels != IGNORED) & is_finite(latents)
        rows = ops.where(known, labels, self.num_classes)
        latents = ops.where(known[:, None], latents, 0.0)
        hardness = ops.where(known, hardness, 0.0)
        groups = _group_by_class(rows, self.num_classes + 1)

        counters = backend.take_rows(self.counters, groups.rows)
        count, next_slot, lap_count = (counters[:, i] for i in range(3))
        size = self.memory_size
        # Of more than `size` samples of one class in one batch, the last ones stay.
        surplus = ops.maximum(groups.total - size, 0)
        arrivals = groups.total - surplus
        lap_done = lap_count + arrivals >= size

        rank = groups.rank - ops.take(surplus, groups.of_sample)
        kept = known & (rank >= 0)
        slots = (ops.take(next_slot, groups.of_sample) + rank) % size
        slot_rows = ops.where(kept, rows * size + slots, self.num_classes * size)
        evicted = kept & (slots < ops.take(count, groups.of_sample))
        # A latent that arrived in the current lap leaves it as well.
        in_lap = ops.take(lap_count, groups.of_sample)
        evicted_from_lap = kept & (in_lap + rank >= size)

        moments = backend.take_rows(self.moments, groups.rows)
        is_new = (count == 0) & (groups.total > 0)
        first = ops.take(latents, groups.first, axis=0)
        shift = ops.where(is_new[:, None], first, moments[:, SHIFT])
        sample_shift = ops.take(shift, groups.of_sample, axis=0)
        leaving = backend.take_rows(self.latents, slot_rows) - sample_shift
        arriving = _powers(latents - sample_shift, kept)
        change = ops.concatenate(
            [
                arriving - _powers(leaving, evicted),
                arriving - _powers(leaving, evicted_from_lap),
            ],
            axis=1,
        )
        sums = moments[:, SUM:] + ops.segment_sum(
            change, groups.of_sample, num_segments=ops.shape(groups.rows)[0]
        )
        renewed = _centred(shift, sums[:, LAP_SUM - SUM :], size)
        kept_up = ops.concatenate([shift[:, None], sums], axis=1)
        moments = ops.where(lap_done[:, None, None], renewed, kept_up)
        counters = ops.stack(
            [
                ops.minimum(count + arrivals, size),
                (next_slot + arrivals) % size,
                ops.where(lap_done, 0, lap_count + arrivals),
            ],
            axis=1,
        )
        scratch = (groups.rows == self.num_classes)[:, None]
        counters = ops.where(scratch, 0, counters)
        backend.put_rows(self.moments, groups.rows, moments, after=after)
        backend.put_rows(self.counters, groups.rows, counters, after=after)
        backend.put_rows(self.latents, slot_rows, latents, after=[moments, *after])
        backend.put_rows(self.hardness, slot_rows, hardness, after=after)

    def _class_rows(self, labels):
        return ops.where(labels == IGNORED, self.num_classes, labels)

    def _slot_rows(self, labels, slots):
        scratch = self.num_classes * self.memory_size
        return ops.where(labels == IGNORED, scratch, labels * self.memory_size + slots)

    def get_config(self):
        config = super().get_config()
        config.update(num_classes=self.num_classes, memory_size=self.memory_size)
        return config


def memory_bytes(num_classes, features):
    """What a `ClassMemory` takes: bytes without latents, and those per latent of all
    classes."""
    fixed = (num_classes + 1) * (5 * features + 3) + features + 1
    return 4 * fixed, 4 * num_classes * (features + 1)


def is_finite(latents):
    """Which latents are finite numbers, and small enough to be squared, `(batch,)`."""
    # In float16 the bound itself would not be a finite number.
    return ops.all(ops.abs(ops.cast(latents, "float32")) < LARGEST_LATENT, axis=-1)


_Groups = namedtuple("_Groups", ["rows", "total", "first", "of_sample", "rank"])
_Groups.__doc__ = """The batch's samples by class.

Attributes:
    rows: Per group, the class's row of the tables; the scratch row for no class.
    total: Per group, its number of samples.
    first: Per group, the index of its first sample; any index without samples.
    of_sample: Per sample, its group.
    rank: Per sample, its place among its group's.
"""


def _group_by_class(rows, num_rows):
    indices = ops.arange(ops.shape(rows)[0], dtype="int32")
    if num_rows <= 128:
        # One group per class is cheaper than sorting, as long as classes are few.
        groups = ops.arange(num_rows, dtype="int32")
        is_row = rows[:, None] == groups
        counts = ops.cumsum(ops.cast(is_row, "int32"), axis=0)
        return _Groups(
            rows=groups,
            total=counts[-1],
            first=ops.argmax(is_row, axis=0),
            of_sample=rows,
            rank=ops.sum(ops.where(is_row, counts - 1, 0), axis=1),
        )
    # A group for each sample; those of one class are in the group of the first.
    # The sort is stable on every backend: samples of a class stay in their order.
    order = ops.cast(ops.argsort(rows), "int32")
    ordered = ops.take(rows, order)
    start = ops.cast(ops.searchsorted(ordered, rows), "int32")
    end = ops.cast(ops.searchsorted(ordered, rows, side="right"), "int32")
    rank = backend.invert(order) - start
    return _Groups(
        rows=ops.where(rank == 0, rows, num_rows - 1),
        total=ops.where(rank == 0, end - start, 0),
        first=indices,
        of_sample=ops.take(order, start),
        rank=rank,
    )


def _powers(values, mask):
    """`(n, 2, features)`: value and square, zero where `mask` is false."""
    values = ops.where(mask[:, None], values, 0.0)
    return ops.stack([values, ops.square(values)], axis=1)


def _centred(shift, lap, size):
    """Moments of one full lap, re-expressed around its own mean."""
    offset = lap[:, 0] / size
    squares = ops.maximum(lap[:, 1] - lap[:, 0] * offset, 0.0)
    zeros = ops.zeros_like(offset)
    return ops.stack([shift + offset, zeros, squares, zeros, zeros], axis=1)
