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
        share: `(rows,)`, the partner's share.
    """
    if own is None:
        return None
    own, partner = ops.cast(own, "float32"), ops.cast(partner, "float32")
    return own + with_rank(share, len(own.shape)) * (partner - own)


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


def fits(mask, tensor):
    """Whether a mask, `(batch, ...)`, has an entry for each position of a tensor, whose
    further axes are features, as far as sizes are known."""
    return len(tensor.shape) > len(mask.shape) and same_positions(mask, tensor)


def same_positions(mask, tensor):
    """Whether a tensor has the axes of a mask, `(batch, ...)`, and maybe others after
    them, as far as sizes are known."""
    sizes, others = mask.shape[1:], tensor.shape[1 : len(mask.shape)]
    pairs = zip(sizes, others, strict=False)
    return len(sizes) == len(others) and all(None in (a, b) or a == b for a, b in pairs)
