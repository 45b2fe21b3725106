import math
import numbers

import keras
from keras import ops

from keras_modals import backend

MINING = ("random", "semihard", "hardest", "all")
DISTANCES = ("squared_euclidean", "cosine")

#: The distance of what is no negative: farther than anything.
_FAR = 1e30

#: Beyond this, and at NaN, an embedding takes no part.
_LARGEST = 1e13


@keras.saving.register_keras_serializable("keras_modals")
class TripletSelector(keras.losses.Loss):
    """Triplet loss over the triplets that a mining rule selects from the batch.

    Every pair of samples of one class is an anchor `a` and a positive `p` (each pair
    once). A sample `n` of another class is an *active* negative of the pair if it
    violates the margin, `d(a, p) - d(a, n) + margin > 0`. The loss is the mean of that
    expression over the chosen triplets, and 0 where there are none.

    Mining is exact. Memory grows with the square of the batch, not with its cube;
    nothing is sorted.

    Value and gradient are finite for any batch: duplicates, no positives, no
    negatives, one sample, no active triplet; rows that are not finite, or too large to
    be squared, are left out. Computed in float32 for embeddings of any dtype, distances
    from inner products around the batch's mean: those much smaller than the spread of
    the batch lose digits.

    The value of sample `i` before reduction is the sum over the triplets with anchor
    `i`, scaled so that the mean over the batch is the mean over triplets. Sample
    weights therefore weight anchors.

    Args:
        margin: Positive float. Defaults to `1.0`.
        mining: Which active negatives of a pair are chosen: `"random"` (one of them),
            `"semihard"` (a random one of those with a loss below the margin, farther
            than the positive), `"hardest"` (the nearest) or `"all"`.
            Defaults to `"random"`, the paper's choice.
        distance: `"squared_euclidean"` or `"cosine"` (one minus the cosine of the
            angle). Defaults to `"squared_euclidean"`.
        seed: Optional integer to make random mining reproducible.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.

    Call arguments:
        y_true: Class indices, `(batch,)` or `(batch, 1)`, or one-hot rows. A sample
            with a negative index, or a row of zeros, takes no part.
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
        seed=None,
        reduction="sum_over_batch_size",
        name="triplet_selector",
    ):
        # Labels pass through the loss's dtype too: half precision would merge classes.
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
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, y_true, y_pred):
        embeddings = ops.cast(y_pred, "float32")
        embeddings = ops.reshape(embeddings, (ops.shape(embeddings)[0], -1))
        labels = _flat_labels(y_true)
        finite = ops.all(ops.abs(embeddings) < _LARGEST, axis=-1)
        labels = ops.where(finite, labels, -1)
        embeddings = ops.where(finite[:, None], embeddings, 0.0)

        distances = pairwise_distances(embeddings, self.distance)
        select = getattr(self, f"_{self.mining}")
        coefficients, counts = select(_Pairs(ops.stop_gradient(distances), labels))
        # Sums of d(a, p) - d(a, n) + margin, linear in the distances.
        sums = ops.sum(coefficients * distances, axis=1) + self.margin * counts
        total = ops.maximum(ops.sum(counts), 1.0)
        scale = ops.cast(ops.shape(labels)[0], "float32") / total
        return sums * scale

    # Each returns, float32, the coefficients `(batch, batch)` of the distances in the
    # sum of losses of a row's anchor, and the number `(batch,)` of its triplets.

    def _hardest(self, pairs):
        nearest = ops.argmin(pairs.negatives, axis=1)[:, None]
        distance = ops.take_along_axis(pairs.negatives, nearest, axis=1)
        chosen = pairs.positive & (distance < pairs.distances + self.margin)
        chosen = ops.cast(chosen, "float32")
        counts = ops.sum(chosen, axis=1)
        is_nearest = pairs.indices == ops.cast(nearest, "int32")
        return chosen - ops.where(is_nearest, counts[:, None], 0.0), counts

    def _all(self, pairs):
        def choose(distance, positive, coefficients):
            active = pairs.negatives < distance + self.margin
            number = ops.sum(ops.cast(active, "int32"), axis=1, keepdims=True)
            # A distance to a positive is never one to a negative.
            change = ops.where(pairs.indices == positive, number, 0)
            change = ops.where(active, -1, change)
            return coefficients + ops.cast(change, "float32"), number[:, 0]

        return pairs.visit(choose)

    def _semihard(self, pairs):
        places, order = self._random_order(pairs)

        def find(distance):
            eligible = pairs.negatives > distance
            eligible = eligible & (pairs.negatives < distance + self.margin)
            # The first of them in a random order is a uniform choice.
            places_left = ops.where(eligible, places, pairs.size)
            return ops.min(places_left, axis=1, keepdims=True)

        return pairs.visit(_choose_one(pairs, find, order))

    def _random(self, pairs):
        # In a random order of the batch, the first active negative is a uniform choice;
        # the running minimum, which falls, finds it by binary search.
        _, order = self._random_order(pairs)
        reached = -_running_minimum(ops.take(pairs.negatives, order, axis=1))

        def find(distance):
            return _search_rows(reached, -(distance + self.margin))

        return pairs.visit(_choose_one(pairs, find, order))

    def _random_order(self, pairs):
        """Each sample's place in a random order of the batch, and its inverse."""
        keys = backend.uniform(ops.shape(pairs.indices), self.seed_generator)
        order = ops.cast(ops.argsort(keys), "int32")
        places = ops.scatter(order[:, None], pairs.indices, ops.shape(pairs.indices))
        return places, order

    def get_config(self):
        config = super().get_config()
        config.update(
            margin=self.margin,
            mining=self.mining,
            distance=self.distance,
            seed=self.seed,
        )
        return config


def pairwise_distances(embeddings, distance):
    """`(batch, batch)` distances, with a finite gradient everywhere."""
    if distance == "cosine":
        squares = ops.sum(ops.square(embeddings), axis=1, keepdims=True)
        directions = embeddings / ops.sqrt(squares + 1e-12)
        return 1.0 - ops.matmul(directions, ops.transpose(directions))
    # Distances do not depend on the origin; rounding errors do.
    embeddings = embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0))
    squares = ops.sum(ops.square(embeddings), axis=1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    return ops.maximum(squares[:, None] + squares[None, :] - 2.0 * products, 0.0)


def _flat_labels(y_true):
    if len(y_true.shape) == 2 and y_true.shape[1] != 1:
        is_class = ops.any(y_true > 0, axis=1)
        return ops.where(is_class, ops.cast(ops.argmax(y_true, axis=1), "int32"), -1)
    return ops.cast(ops.reshape(y_true, (-1,)), "int32")


class _Pairs:
    """The batch's pairs of a class and their negatives.

    Attributes:
        positive: Boolean `(batch, batch)`, each pair once: anchor before positive.
        negatives: Distances to the negatives of a row's anchor, far for other samples.
    """

    def __init__(self, distances, labels):
        self.distances = distances
        self.size = ops.cast(ops.shape(labels)[0], "int32")
        self.indices = ops.arange(self.size, dtype="int32")
        known = labels >= 0
        same = labels[:, None] == labels[None, :]
        is_later = self.indices[None, :] > self.indices[:, None]
        self.positive = same & is_later & known[:, None]
        negative = ops.logical_not(same) & known[:, None] & known[None, :]
        self.negatives = ops.where(negative, distances, _FAR)

    def visit(self, choose):
        """Collects the triplets of all pairs, in rounds.

        In round `k` every anchor meets its `k`-th positive, so that there are as many
        rounds as the most frequent class has samples.

        Args:
            choose: `fn(distance, positive, coefficients)`, given the `(batch, 1)`
                distance to and index of each anchor's positive (which chooses nothing
                where it is -inf), returns new coefficients and the number of triplets.
        """
        following = ops.where(self.positive, self.indices, self.size)
        following = ops.min(following, axis=1)

        def visit_round(positive, coefficients, counts):
            index = ops.minimum(positive, self.size - 1)
            distance = ops.take_along_axis(self.distances, index[:, None], axis=1)
            exists = positive < self.size
            distance = ops.where(exists[:, None], distance, -_FAR)
            coefficients, number = choose(distance, positive[:, None], coefficients)
            positive = ops.where(exists, ops.take(following, index), self.size)
            return positive, coefficients, counts + number

        _, coefficients, counts = ops.while_loop(
            lambda positive, *_: ops.any(positive < self.size),
            visit_round,
            (following, ops.zeros_like(self.distances), ops.zeros_like(following)),
        )
        return coefficients, ops.cast(counts, "float32")


def _choose_one(pairs, find, order):
    """Chooses the negative at the place in `order` that `find(distance)` tells."""

    def choose(distance, positive, coefficients):
        place = find(distance)
        found = ops.cast(place < pairs.size, "int32")[:, 0]
        negative = ops.take(order, ops.minimum(place, pairs.size - 1))
        rows = pairs.indices[:, None]
        entries = ops.concatenate(
            [
                ops.concatenate([rows, ops.minimum(positive, pairs.size - 1)], axis=1),
                ops.concatenate([rows, negative], axis=1),
            ]
        )
        signs = ops.cast(ops.concatenate([found, -found]), "float32")
        return backend.add_entries(coefficients, entries, signs), found

    return choose


def _running_minimum(rows):
    """The minimum of each row up to each place, by doubling the reach."""
    places = ops.arange(ops.shape(rows)[1], dtype="int32")

    def double(reach, minimum):
        earlier = ops.take(minimum, ops.maximum(places - reach, 0), axis=1)
        return reach * 2, ops.minimum(minimum, earlier)

    _, minimum = ops.while_loop(
        lambda reach, _: reach < ops.shape(rows)[1],
        double,
        (ops.convert_to_tensor(1, dtype="int32"), rows),
    )
    return minimum


def _search_rows(rows, bounds):
    """How many entries of an ascending row do not exceed each of its bounds.

    Args:
        rows: `(batch, n)`, every row ascending.
        bounds: `(batch, m)`.

    Returns:
        int32 `(batch, m)`, values in `[0, n]`.
    """
    size = ops.cast(ops.shape(rows)[1], "int32")

    def halve(step, found):
        ahead = found + step
        entries = ops.take_along_axis(rows, ops.minimum(ahead, size) - 1, axis=1)
        return step // 2, ops.where((ahead <= size) & (entries <= bounds), ahead, found)

    powers = ops.convert_to_tensor([2**k for k in range(31)], dtype="int32")
    first_step = ops.max(ops.where(powers <= size, powers, 1))
    _, found = ops.while_loop(
        lambda step, _: step > 0,
        halve,
        (first_step, ops.zeros_like(bounds, dtype="int32")),
    )
    return found
