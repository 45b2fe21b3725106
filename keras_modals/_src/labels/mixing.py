"""One target for a row of two samples, for a loss that does not weight rows."""

from keras import ops

from keras_modals._src.labels.classes import is_float


def is_mixable(target, prediction):
    """Whether targets are floats like the predictions: shares, which can be mixed."""
    return is_float(target) and len(target.shape) == len(prediction.shape)


def mixed(own, partner, share):
    """Both targets, or weights, by their shares.

    Args:
        own, partner: Those of both samples; `None` for no weights.
        share: The partner's share, `(rows,)` or of each position.
    """
    if own is None:
        return None
    own, partner = ops.cast(own, "float32"), ops.cast(partner, "float32")
    return own + with_rank(share, len(own.shape)) * (partner - own)


def share_where_valid(share, own, partner):
    """The partner's share of each position's target, and how much the position counts:
    where one of two samples has none, it is the other's alone, by its share; where
    neither has one, it is as it was.

    Args:
        share: `(rows,)`, the partner's share.
        own, partner: Boolean `(rows, ...)`, which positions of both have a target.

    Returns:
        Pair of float32 `(rows, ...)`.
    """
    own, partner = ops.cast(own, "float32"), ops.cast(partner, "float32")
    share = with_rank(share, len(own.shape))
    own, partner = (1.0 - share) * own, share * partner
    count = ops.where(own + partner > 0, own + partner, 1.0)
    return partner / count, count


def drawn(own, partner, share, uniform):
    """One of both targets, drawn by their shares: right on average.

    Args:
        own, partner, share: As in `mixed`.
        uniform: `(rows,)`, uniform numbers in `[0, 1)`.
    """
    if own is None:
        return None
    return ops.where(with_rank(uniform < share, len(own.shape)), partner, own)


def with_rank(tensor, rank):
    """A tensor with further axes of size 1."""
    missing = rank - len(tensor.shape)
    return ops.reshape(tensor, (*ops.shape(tensor), *[1] * missing))
