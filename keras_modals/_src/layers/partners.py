"""Whom a sample is mixed with."""

from keras import ops

from keras_modals._src import backend
from keras_modals._src.operations.indices import other_index, uniform_index


def draw_partners(kind, uniform, samples, groups, num_groups):
    """The sample that each row is mixed with: another than its own, if there is one.

    Args:
        kind: `"any"`, each sample alike, or `"balanced"`, each group alike.
        uniform: Uniform numbers, `(n, 2)`.
        samples: int32 `(n,)`, each row's own sample.
        groups: int32 `(batch,)`, the samples' groups, -1 for none.
        num_groups: Integer.

    Returns:
        int32 `(n,)`.
    """
    if kind == "any":
        return other_index(uniform[:, 0], samples, ops.shape(groups)[0])
    return _balanced(uniform, samples, groups, num_groups)


def _balanced(uniform, samples, groups, num_groups):
    # The samples without a group are the last one's.
    groups = ops.where(groups < 0, num_groups, groups)
    ones = ops.ones_like(groups)
    counts = backend.segment_sum(ones, groups, num_groups + 1)
    starts = ops.cumsum(counts) - counts
    order = ops.cast(ops.argsort(groups), "int32")
    place = backend.invert(order)
    # How many groups there are up to each, itself included.
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
