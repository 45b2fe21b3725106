import math
import numbers

import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED, Classes

MINING = ("random", "semihard", "hardest", "all")
DISTANCES = ("squared_euclidean", "cosine")

#: The distance assigned to samples that are not negatives, larger than any other.
_FAR = 1e30

#: Rounds per step of the loop over positives; more rounds take more memory.
_ROUNDS_AT_ONCE = 4

#: Embeddings with entries beyond this, or NaN, are left out.
_LARGEST = 1e13

#: Below this share of the batch's median norm, an embedding has no direction: the
#: gradient of its direction grows with the inverse of its norm.
_SMALLEST_NORM = 1e-3


@keras.saving.register_keras_serializable("keras_modals")
class TripletSelector(keras.losses.Loss):
    """Triplet loss over triplets that a mining rule selects from the batch.

    Each pair of samples of one class forms an anchor `a` and a positive `p` (each pair
    once). A sample `n` of another class is an *active* negative of the pair if it
    violates the margin, `d(a, p) - d(a, n) + margin > 0`. The loss is the mean of that
    expression over the selected triplets, or 0 if there are none.

    Mining is exact. Memory grows with the square of the batch size, not its cube;
    nothing is sorted.

    Value and gradient are finite for any batch: duplicates, no positives, no negatives,
    a single sample, no active triplet. Rows that are not finite, or too large to be
    squared, are left out. With cosine distance, rows without a direction are left out
    too: those with a norm below a thousandth of the batch's median.

    The loss is computed in float32 for embeddings of any dtype. Distances come from
    inner products around the batch's mean, so distances much smaller than the spread of
    the batch lose precision.

    The value of sample `i` before reduction is the sum over the triplets with anchor
    `i`, scaled so that the mean over the batch is the mean over triplets. Sample
    weights therefore weight anchors.

    Args:
        margin: Positive float. Defaults to `1.0`.
        mining: Which active negatives of a pair to select: `"random"` (one of them),
            `"semihard"` (a random one of those farther than the positive, with a loss
            below the margin), `"hardest"` (the nearest) or `"all"`.
            Defaults to `"random"`, the paper's choice.
        distance: `"squared_euclidean"` or `"cosine"` (one minus the cosine of the
            angle). Defaults to `"squared_euclidean"`.
        multi_label: Boolean, whether a sample may have several labels. Two samples are
            then of one class if they share a label. Defaults to `False`.
        seed: Optional integer to make random mining reproducible.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.

    Call arguments:
        y_true: Class indices, `(batch,)` or `(batch, 1)`, or rows of class
            probabilities, which count as their largest entry. Samples with a negative
            index, or a row that does not sum to 1, are left out. With `multi_label`,
            rows of 0 and 1, `(batch, labels)`; samples with a negative entry are left
            out.
        y_pred: Embeddings, `(batch, ...)`; all axes but the first are features.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    - [Schroff et al., 2015](https://arxiv.org/abs/1503.03832)

    Example:

    >>> loss = keras_modals.TripletSelector(margin=0.5, mining="hardest")
    >>> labels = np.array([0, 0, 1])
    >>> embeddings = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.5]])
    >>> float(loss(labels, embeddings))  # anchor 0: d(a, p) = 1, d(a, n) = 1.25
    0.25
    """

    def __init__(
        self,
        margin=1.0,
        mining="random",
        distance="squared_euclidean",
        multi_label=False,
        seed=None,
        reduction="sum_over_batch_size",
        name="triplet_selector",
    ):
        # Labels are cast to the loss's dtype too: half precision would merge classes.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if not (isinstance(margin, numbers.Real) and 0 < float(margin) < math.inf):
            raise ValueError(
                "Invalid value received for argument `margin`. Expected a positive "
                f"float. Received: margin={margin}"
            )
        if mining not in MINING:
            raise ValueError(
                "Invalid value received for argument `mining`. Expected one of "
                f"{MINING}. Received: mining={mining!r}"
            )
        if distance not in DISTANCES:
            raise ValueError(
                "Invalid value received for argument `distance`. Expected one of "
                f"{DISTANCES}. Received: distance={distance!r}"
            )
        self.margin = float(margin)
        self.mining = mining
        self.distance = distance
        self.multi_label = bool(multi_label)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, y_true, y_pred):
        embeddings = ops.cast(y_pred, "float32")
        embeddings = ops.reshape(embeddings, (ops.shape(embeddings)[0], -1))
        labels, known = self._read(y_true)
        finite = ops.all(ops.abs(embeddings) < _LARGEST, axis=-1)
        embeddings = ops.where(finite[:, None], embeddings, 0.0)
        if self.distance == "cosine":
            finite = finite & _has_direction(embeddings)
        known = known & finite
        embeddings = ops.where(finite[:, None], embeddings, 0.0)

        order = ops.arange(ops.shape(known)[0], dtype="int32")
        if self.mining in ("random", "semihard"):
            # In a random order of the batch, the first sample of any subset is a
            # uniform choice from it.
            keys = backend.uniform(ops.shape(known), self.seed_generator)
            order = ops.cast(ops.argsort(keys), "int32")
            labels, known, embeddings = (
                backend.take_rows(each, order) for each in (labels, known, embeddings)
            )

        distances = pairwise_distances(embeddings, self.distance)
        same = self._are_same(labels)
        pairs = _Pairs(
            ops.stop_gradient(distances), same, known, order, not self.multi_label
        )
        # The coefficient of each distance (negative for negatives) in the sum of
        # d(a, p) - d(a, n) + margin over the triplets of a row's anchor.
        coefficients = getattr(self, f"_{self.mining}")(pairs)
        counts = ops.sum(ops.maximum(coefficients, 0.0), axis=1)
        sums = ops.sum(coefficients * distances, axis=1) + self.margin * counts
        total = ops.maximum(ops.sum(counts), 1.0)
        scale = ops.cast(ops.shape(known)[0], "float32") / total
        return backend.take_rows(sums, pairs.places) * scale

    def _read(self, y_true):
        """The labels, and which samples have one, boolean `(batch,)`."""
        if self.multi_label:
            rows = ops.cast(y_true, "float32")
            return ops.cast(rows >= 0.5, "float32"), ops.all(rows >= 0.0, axis=-1)
        labels = Classes().groups(y_true)
        return labels, labels != IGNORED

    def _are_same(self, labels):
        """Which pairs of samples are of one class, boolean `(batch, batch)`."""
        if self.multi_label:
            return ops.matmul(labels, ops.transpose(labels)) > 0.0
        return labels[:, None] == labels[None, :]

    # Each returns the coefficients, float32 `(batch, batch)`.

    def _hardest(self, pairs):
        nearest = _argmin(pairs.negatives)[:, None]
        distance = ops.take_along_axis(pairs.negatives, nearest, axis=1)
        chosen = pairs.positive & (distance < pairs.distances + self.margin)
        chosen = ops.cast(chosen, "float32")
        counts = ops.sum(chosen, axis=1, keepdims=True)
        return chosen - ops.where(pairs.indices == nearest, counts, 0.0)

    def _all(self, pairs):
        def choose(coefficients, distance, positive):
            active = ops.cast(pairs.negatives < distance + self.margin, "float32")
            number = ops.sum(active, axis=1, keepdims=True)
            return coefficients - active + ops.where(positive, number, 0.0)

        return pairs.visit(choose)

    def _semihard(self, pairs):
        def choose(coefficients, distance, positive):
            eligible = pairs.negatives > distance
            eligible = eligible & (pairs.negatives < distance + self.margin)
            first = ops.where(eligible, pairs.indices, pairs.size)
            first = ops.min(first, axis=1, keepdims=True)
            chosen = ops.cast(pairs.indices == first, "float32")
            found = ops.cast(positive & (first < pairs.size), "float32")
            return coefficients + found - chosen

        return pairs.visit(choose)

    def _random(self, pairs):
        # A pair chooses its first active negative, the first one below its bound. Only
        # negatives nearer than all before them can be first. They are found from the
        # last one back: each is the nearest of those before the previous find. A bound
        # above it is met there or earlier.
        bounds = ops.where(pairs.positive, pairs.distances + self.margin, -_FAR)
        rows = pairs.indices

        def nearest_before(end):
            before = ops.where(pairs.indices < end[:, None], pairs.negatives, _FAR)
            place = _argmin(before)
            distance = ops.take_along_axis(before, place[:, None], axis=1)
            return place, ops.cast(bounds > distance, "float32")

        def step_back(place, number, coefficients):
            earlier, reached = nearest_before(place)
            earlier_number = ops.sum(reached, axis=1)
            entries = ops.stack([rows, place], axis=1)
            coefficients = backend.add_entries(
                coefficients, entries, earlier_number - number
            )
            return earlier, earlier_number, coefficients

        place, found = nearest_before(ops.broadcast_to(pairs.size, ops.shape(rows)))
        _, _, coefficients = ops.while_loop(
            lambda place, number, _: ops.any(number > 0),
            step_back,
            (place, ops.sum(found, axis=1), found),
        )
        return coefficients

    def get_config(self):
        config = super().get_config()
        config.update(
            margin=self.margin,
            mining=self.mining,
            distance=self.distance,
            multi_label=self.multi_label,
            seed=self.seed,
        )
        return config


def _has_direction(embeddings):
    norms = ops.stop_gradient(ops.sqrt(ops.sum(ops.square(embeddings), axis=1)))
    middle = ops.shape(norms)[0] // 2
    return norms > _SMALLEST_NORM * ops.sort(norms)[middle]


def pairwise_distances(embeddings, distance):
    """Distances, `(batch, batch)`, with a finite gradient everywhere."""
    if distance == "cosine":
        squares = ops.sum(ops.square(embeddings), axis=1, keepdims=True)
        is_zero = squares == 0.0
        directions = embeddings * ops.rsqrt(ops.where(is_zero, 1.0, squares))
        cosines = ops.matmul(directions, ops.transpose(directions))
        return ops.maximum(1.0 - cosines, 0.0)
    # Distances do not depend on the origin; rounding errors do.
    embeddings = embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0))
    squares = ops.sum(ops.square(embeddings), axis=1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    return ops.maximum(squares[:, None] + squares[None, :] - 2.0 * products, 0.0)


class _Pairs:
    """The batch's pairs of one class and their negatives, in an order of the batch.

    Attributes:
        are_classes: Whether "of one class" is transitive.
        positive: Boolean `(batch, batch)`, each pair once: anchor before positive, in
            the batch as it was given.
        negatives: Distances to the negatives of a row's anchor; a large value for other
            samples.
        indices: `0, 1, ...`, the position of each sample in the order.
        places: The position in the order of each sample of the batch as it was given.
    """

    def __init__(self, distances, same, known, order, are_classes):
        self.are_classes = are_classes
        self.distances = distances
        self.order = order
        size = ops.shape(known)[0]
        self.size = ops.cast(size, "int32")
        self.indices = ops.arange(size, dtype="int32")
        self.places = backend.invert(order)
        is_later = order[None, :] > order[:, None]
        self.positive = same & is_later & known[:, None] & known[None, :]
        negative = ops.logical_not(same) & known[:, None] & known[None, :]
        self.negatives = ops.where(negative, distances, _FAR)

    def visit(self, choose):
        """Accumulates `(batch, batch)` values over all pairs, in rounds.

        In round `k` every anchor meets its `k`-th positive, so the number of rounds is
        the size of the most frequent class.

        Args:
            choose: `fn(values, distance, positive)` that returns the new values.
                `distance` is each anchor's distance to its positive, `(batch, 1)` (very
                negative if none is left), and `positive` marks its position, boolean
                `(batch, batch)`.
        """
        first = self._first_after(ops.full_like(self.order, -1))

        def following(index):
            if self.are_classes:
                # The sample that follows it as an anchor follows it as a positive.
                return ops.take(first, index)
            return self._first_after(ops.take(self.order, index))

        def visit_rounds(positive, values):
            for _ in range(_ROUNDS_AT_ONCE):
                index = ops.minimum(positive, self.size - 1)
                distance = ops.take_along_axis(self.distances, index[:, None], axis=1)
                exists = positive < self.size
                distance = ops.where(exists[:, None], distance, -_FAR)
                values = choose(values, distance, positive[:, None] == self.indices)
                positive = ops.where(exists, following(index), self.size)
            return positive, values

        _, values = ops.while_loop(
            lambda positive, _: ops.any(positive < self.size),
            visit_rounds,
            (first, ops.zeros_like(self.distances)),
        )
        return values

    def _first_after(self, sample):
        """The position of each anchor's first positive after a sample of the batch."""
        later = self.positive & (self.order > sample[:, None])
        return self._place_of(ops.min(ops.where(later, self.order, self.size), axis=1))

    def _place_of(self, sample):
        place = ops.take(self.places, ops.minimum(sample, self.size - 1))
        return ops.where(sample < self.size, place, self.size)


def _argmin(rows):
    """The position of each row's smallest entry, int32.

    Entries must not be negative. The bits of such floats, read as integers, have the
    same order, and integer minima are faster to find."""
    bits = ops.squeeze(ops.view(rows[:, :, None], "int32"), axis=2)
    return ops.cast(ops.argmin(bits, axis=1), "int32")
