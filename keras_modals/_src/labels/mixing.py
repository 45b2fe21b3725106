"""Combines the two targets of a mixed row, for losses that do not weight rows."""

from keras import ops

from keras_modals._src.labels.classes import is_float


def is_mixable(target, prediction):
    """Whether targets can be mixed: floats with the rank of the predictions."""
    return is_float(target) and len(target.shape) == len(prediction.shape)


def mixed(own, partner, share):
    """Averages two targets or sample weights, weighted by their shares.

    Args:
        own, partner: Values of the two samples; `None` for no weights.
        share: `(rows,)`, the partner's share.
    """
    if own is None:
        return None
    own, partner = ops.cast(own, "float32"), ops.cast(partner, "float32")
    return own + with_rank(share, len(own.shape)) * (partner - own)


def drawn(own, partner, share, uniform):
    """Draws one of two targets with their shares as probabilities: correct on average.

    Args:
        own, partner, share: As in `mixed`.
        uniform: `(rows,)`, uniform numbers in `[0, 1)`.
    """
    if own is None:
        return None
    return ops.where(with_rank(uniform < share, len(own.shape)), partner, own)


def with_rank(tensor, rank):
    """Appends axes of size 1 up to a rank."""
    missing = rank - len(tensor.shape)
    return ops.reshape(tensor, (*ops.shape(tensor), *[1] * missing))


def fits(mask, tensor):
    """Whether a mask, `(batch, ...)`, has an entry for each position of a tensor.

    The tensor's remaining axes are features. Unknown sizes match any size."""
    return len(tensor.shape) > len(mask.shape) and same_positions(mask, tensor)


def same_positions(mask, tensor):
    """Whether a tensor starts with the axes of a mask, `(batch, ...)`.

    Unknown sizes match any size."""
    sizes, others = mask.shape[1:], tensor.shape[1 : len(mask.shape)]
    pairs = zip(sizes, others, strict=False)
    return len(sizes) == len(others) and all(None in (a, b) or a == b for a, b in pairs)
