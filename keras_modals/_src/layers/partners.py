"""Selection of the sample that each row is mixed with."""

from keras import ops

from keras_modals._src import backend
from keras_modals._src.indices import other_index, uniform_index
from keras_modals._src.labels import IGNORED

#: The distance of samples that cannot be partners.
_FAR = 1e30


def draw_partners(operation, uniform, samples, labels, kind):
    """Draws the sample that each row is mixed with, other than its own if there is one.

    Args:
        operation: A `Mixing`, which defines how partners are drawn.
        uniform: Uniform numbers, `(n, 2)`.
        samples: int32 `(n,)`, each row's own sample.
        labels: The `BatchLabels` of the samples.
        kind: The kind of `Labels`.

    Returns:
        int32 `(n,)`. If something learns from unlabeled samples, these are mixed with
        each other only, and so are labeled samples.
    """
    groups = labels.samples
    apart = lacking(labels)
    if apart is not None:
        alike = _alike(uniform[:, 0], samples, apart)
        if operation.partners == "any":
            return alike
        partner = _of_labeled(operation, uniform, samples, labels, kind)
        return ops.where(backend.take_rows(apart, samples), alike, partner)
    if operation.partners == "any":
        return other_index(uniform[:, 0], samples, ops.shape(groups)[0])
    return _of_labeled(operation, uniform, samples, labels, kind)


def lacking(labels):
    """Which unlabeled samples should be learned from, boolean `(batch,)`.

    `None` if nothing learns from unlabeled samples."""
    if labels.unlabeled is None:
        return None
    batch = ops.shape(labels.samples)[0]
    some = ops.any(ops.reshape(labels.unlabeled, (batch, -1)), axis=1)
    return some & (labels.samples == IGNORED)


def _of_labeled(operation, uniform, samples, labels, kind):
    groups = labels.samples
    if operation.partners == "balanced":
        return _balanced(uniform, samples, groups, kind.num_groups)
    targets = kind.mixable(labels.targets)
    targets = ops.reshape(targets, (ops.shape(groups)[0], -1))
    labeled = groups != IGNORED
    return _near(operation.bandwidth, uniform, samples, labeled, targets)


def _alike(uniform, samples, apart):
    """Another sample that is labeled, or unlabeled, like the row's own."""
    order = ops.cast(ops.argsort(ops.cast(apart, "int32")), "int32")
    count = ops.sum(ops.cast(apart, "int32"))
    others = ops.shape(apart)[0] - count
    own = backend.take_rows(apart, samples)
    start, size = ops.where(own, others, 0), ops.where(own, count, others)
    place = backend.take_rows(backend.invert(order), samples)
    return backend.take_rows(order, start + other_index(uniform, place - start, size))


def _near(bandwidth, uniform, samples, labeled, targets):
    """Draws with a Gaussian kernel of the distance between standardized targets."""
    weights = ops.cast(labeled, "float32")[:, None]
    count = ops.maximum(ops.sum(weights), 1.0)
    targets = ops.where(labeled[:, None], targets, 0.0)
    mean = ops.sum(targets, axis=0) / count
    targets = (targets - mean) * weights
    variance = ops.sum(ops.square(targets)) / count
    targets = targets * ops.rsqrt(ops.maximum(variance, 1e-12))
    squares = ops.sum(ops.square(targets), axis=1)
    products = ops.matmul(targets, ops.transpose(targets))
    squares = squares[:, None] + squares[None, :] - 2.0 * products
    indices = ops.arange(ops.shape(labeled)[0], dtype="int32")
    possible = labeled[None, :] & (indices[:, None] != indices[None, :])
    exponents = ops.where(possible, -squares / (2.0 * bandwidth**2), -_FAR)
    # The nearest sample has a weight of 1, however narrow the kernel is.
    kernel = ops.exp(exponents - ops.max(exponents, axis=1, keepdims=True))
    up_to = ops.cumsum(ops.where(possible, kernel, 0.0), axis=1)
    up_to = backend.take_rows(up_to, samples)
    is_before = up_to <= uniform[:, :1] * up_to[:, -1:]
    partner = ops.sum(ops.cast(is_before, "int32"), axis=1)
    # With no possible partner, also by rounding, a sample is its own partner.
    return ops.where(partner < ops.shape(labeled)[0], partner, samples)


def _balanced(uniform, samples, groups, num_groups):
    # Samples without a group go into the last one.
    groups = ops.where(groups < 0, num_groups, groups)
    ones = ops.ones_like(groups)
    counts = backend.segment_sum(ones, groups, num_groups + 1)
    starts = ops.cumsum(counts) - counts
    order = ops.cast(ops.argsort(groups), "int32")
    place = backend.invert(order)
    # The number of non-empty groups up to and including each.
    known = ops.arange(num_groups + 1, dtype="int32") < num_groups
    up_to = ops.cumsum(ops.cast((counts > 0) & known, "int32"))

    own = backend.take_rows(groups, samples)
    own_number = backend.take_rows(up_to, own) - 1
    alone = ops.cast(backend.take_rows(counts, own) == 1, "int32")
    number = uniform_index(uniform[:, 0], up_to[-1] - alone)
    number = number + alone * ops.cast(number >= own_number, "int32")
    group = ops.cast(ops.searchsorted(up_to, number + 1), "int32")
    group = ops.minimum(group, num_groups)

    is_own = ops.cast(group == own, "int32")
    rank = backend.take_rows(place, samples) - backend.take_rows(starts, own)
    member = uniform_index(uniform[:, 1], backend.take_rows(counts, group) - is_own)
    member = member + is_own * ops.cast(member >= rank, "int32")
    index = backend.take_rows(starts, group) + member
    return backend.take_rows(order, ops.minimum(index, ops.shape(order)[0] - 1))
