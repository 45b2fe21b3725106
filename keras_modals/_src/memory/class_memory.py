from collections import namedtuple

import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED

#: Number of float32 numbers for the sum of a class's latents, and for their squares.
SUM_PARTS, SQUARE_PARTS = 2, 3
#: Columns of the counters table.
COUNT, NEXT_SLOT = range(2)

#: Up to this number of classes, statistics are stored in addition to the sums.
FEW_CLASSES = 127

#: Latents with entries beyond this, or NaN, are left out: their squares would overflow.
LARGEST_LATENT = 1e15

ClassStatistics = namedtuple("ClassStatistics", ["count", "mean", "deviation"])


@keras.saving.register_keras_serializable("keras_modals")
class ClassMemory(keras.layers.Layer):
    """Remembers the last latents of every class, their hardness, mean, and deviation.

    Each class has a ring buffer of `memory_size` latents. Mean and standard deviation
    are those of the buffer's content. They are updated by adding new latents and
    subtracting evicted ones, so the cost of a step does not depend on the memory size.
    A single float32 sum of squares would never forget an outlier: each addition rounds
    off 6e-8 of the outlier's square. Each sum is therefore split into two or three
    float32 numbers, all but the last of which are exact: an outlier leaves an error of
    at most 1e-16 of its square. The latents of the ring's last lap and of the present
    lap have separate sums, so that rounding errors vanish with their lap and do not
    accumulate.

    All state is float32 (or int32), whatever the dtype policy. The last row of every
    table is scratch space for entries that must not be remembered.

    Args:
        num_classes: Integer, the number of classes.
        memory_size: Integer, the number of latents to keep per class.

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
        # Per class, the sums of the last lap's latents that are still held, and of the
        # present lap's latents.
        parts = SUM_PARTS + SQUARE_PARTS
        self.moments = state("moments", (classes, 2, parts, features))
        # Statistics derived from the sums, computed once per step and not per reader.
        # For many classes they would take too much memory.
        self.means_and_deviations = None
        if self.num_classes <= FEW_CLASSES:
            shape = (classes, 2, features)
            self.means_and_deviations = state("means_and_deviations", shape)
        self.counters = state("counters", (classes, 2), "int32")

    def counts(self, labels):
        """The number of latents held for each label's class, int32."""
        counters = backend.take_rows(self.counters, self._class_rows(labels))
        # Code that sets all weights to NaN, as after a diverged training, sets these
        # to arbitrary numbers, which must not become indices.
        return ops.clip(counters[..., COUNT], 0, self.memory_size)

    def statistics(self, labels):
        """Count, mean, and deviation of each label's class.

        Returns:
            `ClassStatistics` of int32 `count`, shape `(n,)`, and float32 `mean` and
            `deviation`, shape `(n, features)`; zeros for a class not yet seen.
        """
        rows, count = self._class_rows(labels), self.counts(labels)
        if self.means_and_deviations is None:
            moments = backend.take_rows(self.moments, rows)
            return ClassStatistics(count, *_mean_and_deviation(moments, count))
        values = backend.take_rows(self.means_and_deviations, rows)
        return ClassStatistics(count, values[:, 0], values[:, 1])

    def take_latents(self, labels, slots):
        """The latents in `slots` of each label's class.

        Slots must be below `counts(labels)`, or 0 if that is 0."""
        return backend.take_rows(self.latents, self._slot_rows(labels, slots))

    def take_hardness(self, labels, slots):
        """The hardness of the latents in `slots`, as in `take_latents`."""
        return backend.take_rows(self.hardness, self._slot_rows(labels, slots))

    def update(self, latents, labels, hardness, after=()):
        """Adds a batch, evicting the oldest latents of the same classes.

        Args:
            latents: `(batch, features)`. Rows that are not finite are left out.
            labels: int32 `(batch,)`. Samples with the label `IGNORED` are left out.
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
        place = self._place(rows, groups, counters)

        moments = backend.take_rows(self.moments, groups.rows)
        lap_done = place.lap_done[:, None, None, None]
        moments = ops.where(lap_done, _next_lap(moments), moments)
        leaving = backend.take_rows(self.latents, place.rows)
        moments = _sums_with(
            moments,
            arriving=ops.where(place.kept[:, None], latents, 0.0),
            leaving=ops.where((place.evicts & place.in_lap)[:, None], leaving, 0.0),
            in_lap=place.in_lap,
            groups=groups.of_sample,
            most=ops.max(place.arrivals),
        )
        scratch = groups.rows == self.num_classes
        counters = ops.where(scratch[:, None], 0, place.counters)

        backend.put_rows(self.moments, groups.rows, moments, after=after)
        if self.means_and_deviations is not None:
            values = _mean_and_deviation(moments, counters[:, COUNT])
            values = ops.stack(values, axis=1)
            table = self.means_and_deviations
            backend.put_rows(table, groups.rows, values, after=after)
        backend.put_rows(self.counters, groups.rows, counters, after=after)
        # One sum is enough: all sums depend on the evicted latents together.
        after = [moments[:, 0, 0], *after]
        backend.put_rows(self.latents, place.rows, latents, after=after)
        backend.put_rows(self.hardness, place.rows, hardness, after=after)

    def _place(self, rows, groups, counters):
        """Computes where each sample is stored, as a `_Place`."""
        size = self.memory_size
        count, next_slot = counters[:, COUNT], counters[:, NEXT_SLOT]
        # If a batch has more than `size` samples of a class, the last ones are kept.
        surplus = ops.maximum(groups.total - size, 0)
        arrivals = groups.total - surplus
        lap_done = next_slot + arrivals >= size

        def of_sample(values):
            return backend.take_rows(values, groups.of_sample)

        rank = groups.rank - of_sample(surplus)
        kept = (rows != self.num_classes) & (rank >= 0)
        slots = of_sample(next_slot) + rank
        in_lap = (slots >= size) | ~of_sample(lap_done)
        slots = slots % size
        return _Place(
            rows=ops.where(kept, rows * size + slots, self.num_classes * size),
            kept=kept,
            evicts=kept & (slots < of_sample(count)),
            in_lap=in_lap,
            arrivals=arrivals,
            lap_done=lap_done,
            counters=ops.stack(
                [ops.minimum(count + arrivals, size), (next_slot + arrivals) % size],
                axis=1,
            ),
        )

    def _class_rows(self, labels):
        # The remainder of `IGNORED`, -1, is the scratch row.
        return ops.convert_to_tensor(labels) % (self.num_classes + 1)

    def _slot_rows(self, labels, slots):
        return self._class_rows(labels) * self.memory_size + slots

    def get_config(self):
        config = super().get_config()
        config.update(num_classes=self.num_classes, memory_size=self.memory_size)
        return config


def memory_bytes(num_classes, features):
    """The size of a `ClassMemory`: bytes without latents, and bytes per latent of all
    classes."""
    rows = 2 * (SUM_PARTS + SQUARE_PARTS) + 2 * (num_classes <= FEW_CLASSES)
    fixed = (num_classes + 1) * (rows * features + 2) + features + 1
    return 4 * fixed, 4 * num_classes * (features + 1)


def is_finite(latents):
    """Whether latents are finite and small enough to be squared, boolean `(batch,)`."""
    # In float16 the bound itself would not be a finite number.
    return ops.all(ops.abs(ops.cast(latents, "float32")) < LARGEST_LATENT, axis=-1)


_Place = namedtuple(
    "_Place",
    ["rows", "kept", "evicts", "in_lap", "arrivals", "lap_done", "counters"],
)
_Place.__doc__ = """Where a batch's samples are stored.

A class's lap begins in slot 0. Latents of the last lap that are still held are in
slots that the present lap has not reached.

Attributes:
    rows: Per sample, its row in the latents; the scratch row if it is not kept.
    kept: Per sample, whether it is remembered.
    evicts: Per sample, whether it replaces a latent.
    in_lap: Per sample, whether it belongs to the present lap after the batch.
    arrivals: Per group, the number of samples kept.
    lap_done: Per group, whether the batch completes a lap.
    counters: Per group, its new row of the counters.
"""

_Groups = namedtuple("_Groups", ["rows", "total", "of_sample", "rank"])
_Groups.__doc__ = """The batch's samples by class.

Attributes:
    rows: Per group, the class's row in the tables; the scratch row for no class.
    total: Per group, the number of samples.
    of_sample: Per sample, its group.
    rank: Per sample, its position within its group.
"""


def _group_by_class(rows, num_rows):
    if num_rows <= FEW_CLASSES + 1:
        # One group per class is cheaper than sorting, as long as classes are few.
        groups = ops.arange(num_rows, dtype="int32")
        is_row = rows[:, None] == groups
        counts = ops.cumsum(ops.cast(is_row, "int32"), axis=0)
        return _Groups(
            rows=groups,
            total=counts[-1],
            of_sample=rows,
            rank=ops.sum(ops.where(is_row, counts - 1, 0), axis=1),
        )
    # One group per sample; samples of a class are in the group of the first one.
    # The sort is stable on every backend: samples of a class keep their order.
    order = ops.cast(ops.argsort(rows), "int32")
    ordered = backend.take_rows(rows, order)
    start = ops.cast(ops.searchsorted(ordered, rows), "int32")
    end = ops.cast(ops.searchsorted(ordered, rows, side="right"), "int32")
    rank = backend.invert(order) - start
    return _Groups(
        rows=ops.where(rank == 0, rows, num_rows - 1),
        total=ops.where(rank == 0, end - start, 0),
        of_sample=backend.take_rows(order, start),
        rank=rank,
    )


def _next_lap(moments):
    """The sums after the present lap has become the last one."""
    present = moments[:, 1:]
    return ops.concatenate([present, ops.zeros_like(present)], axis=1)


def _sums_with(moments, arriving, leaving, in_lap, groups, most):
    """The sums after adding some latents and subtracting others.

    Args:
        moments: `(groups, 2, parts, features)`.
        arriving, leaving: `(n, features)`, zero for none. Leaving latents belong to the
            last lap.
        in_lap: Boolean `(n,)`, whether an arriving latent belongs to the present lap.
        groups: int32 `(n,)`.
        most: The largest number of latents that arrive in a group.
    """
    parts = SUM_PARTS + SQUARE_PARTS
    most = ops.cast(ops.maximum(most, 1), "float32")
    both = _parts(ops.concatenate([arriving, leaving]), most)
    arriving, leaving = ops.split(both, 2)
    present = ops.where(in_lap[:, None, None], arriving, 0.0)
    change = backend.segment_sum(
        ops.stack([(arriving - present) - leaving, present], axis=1),
        groups,
        ops.shape(moments)[0],
    )
    sums, rests = _two_sum(moments, change)
    (total, rest, high, middle, low), rests = (
        [each[:, :, part] for part in range(parts)] for each in (sums, rests)
    )
    total, rest = _two_sum(total, rests[0] + rest)

    middle, rest_of_both = _two_sum(middle, rests[2])
    low = low + (rests[3] + rest_of_both)
    high, middle = _two_sum(high, middle)
    middle, low = _two_sum(middle, low)
    return ops.stack([total, rest, high, middle, low], axis=2)


def _parts(values, most):
    """What values add to the parts of the sums, `(n, parts, features)`.

    Adding a large number to a value and subtracting it rounds the value to a multiple
    of the large number's last bit. Multiples of one bit add up without rounding as long
    as the sum has no more than 24 bits. The rounded-off remainder goes to the next
    part.
    """
    largest = most * ops.max(ops.abs(values), axis=0)
    rounded = _round(values, 4.0 * largest)
    parts = [rounded, values - rounded]

    # The square as exact products, so that fusing them with sums changes nothing.
    high, low = _halves(values)
    # Separate tensors: XLA would recompute a stacked one wherever it is used.
    terms = [high * high, 2.0 * high * low, low * low]
    large = 4.0 * largest * (largest / most)
    for _ in range(SQUARE_PARTS - 1):
        rounded = [_round(term, large) for term in terms]
        parts.append(sum(rounded))
        terms = [term - part for term, part in zip(terms, rounded, strict=True)]
        # Four times the sum of `3 * most` remainders of at most one last bit each.
        large = large * (12 * 2.0**-23 * most)
    parts.append(sum(terms))
    return ops.stack(parts, axis=1)


def _mean_and_deviation(moments, count):
    """Mean and deviation of the latents of both laps, `(n, features)` each."""
    both_laps = _two_sum(moments[:, 0], moments[:, 1])
    total, rest, high, middle, low = (
        [each[:, part] for each in both_laps]
        for part in range(SUM_PARTS + SQUARE_PARTS)
    )
    total, rest = _two_sum(total[0], total[1] + rest[0])
    count = ops.cast(ops.maximum(count, 1), "float32")[:, None]
    mean = total / count

    # Let `excess` be total - count * mean, the rounding error of `mean`. The sum of
    # squares around the mean is then squares - mean * (total + excess). For a large
    # mean nearly all of that cancels, so the products are exact, from halves.
    mean_high, mean_low = _halves(mean)
    count_high, count_low = _halves(count)
    excess, error = _two_sum(total - count_high * mean_high, -count_high * mean_low)
    excess = (excess - count_low * mean_high) + (error - count_low * mean_low + rest)

    total_high, total_low = _halves(total)
    squares = high[0] - mean_high * total_high
    squares, error_1 = _two_sum(squares, -mean_high * total_low)
    squares, error_2 = _two_sum(squares, -mean_low * total_high)
    small, error_3 = _two_sum(middle[0], -mean_low * total_low)
    squares = (squares + small) + (high[1] + error_1 + error_2)
    squares = squares + (error_3 + middle[1] + low[0] - mean * (rest + excess))
    offset = excess / count
    variance = ops.maximum(squares / count - ops.square(offset), 0.0)
    return mean + offset, ops.sqrt(variance)


def _halves(values):
    """Splits a value into two numbers of 12 bits, whose products are exact."""
    bits = ops.bitwise_and(ops.view(values, "int32"), -(2**12))
    high = ops.view(bits, "float32")
    return high, values - high


def _round(values, large):
    return (values + large) - large


def _two_sum(a, b):
    """The sum and its exact rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
