"""Hardness of latents, which raises their probability of being a hard example."""

from keras import ops

#: Kinds that depend only on the position of a latent.
STATISTICAL_HARDNESS = ("l2", "cosine", "margin")
HARDNESS = ("loss", *STATISTICAL_HARDNESS, "uniform")


def latent_hardness(kind, latents, labels, statistics):
    """Hardness from the position of a latent. Larger is harder.

    Args:
        kind: `"l2"` (distance to the class center), `"cosine"` (cosine distance to it)
            or `"margin"` (how much farther it is than the nearest center of another
            class in the batch).
        latents: float32 `(batch, features)`.
        labels: int32 `(batch,)`.
        statistics: The `ClassStatistics` of each latent's class. Classes not yet seen
            have no center.

    Returns:
        float32 `(batch,)`.
    """
    class_mean = statistics.mean
    if kind == "l2":
        return _distance(latents, class_mean)
    if kind == "cosine":
        product = ops.sum(_direction(latents) * _direction(class_mean), axis=-1)
        return 1.0 - product
    distances = ops.sqrt(_square_distances(latents, class_mean))
    other = labels[:, None] != labels[None, :]
    other = other & (statistics.count > 0)[None, :]
    nearest_other = ops.min(ops.where(other, distances, 1e9), axis=-1)
    margin = _distance(latents, class_mean) - nearest_other
    return ops.where(ops.any(other, axis=-1), margin, 0.0)


def _distance(x, y):
    return ops.sqrt(ops.sum(ops.square(x - y), axis=-1))


def _direction(x):
    return x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-12)


def _square_distances(x, y):
    squares = (
        ops.sum(ops.square(x), axis=-1)[:, None]
        + ops.sum(ops.square(y), axis=-1)[None, :]
        - 2.0 * ops.matmul(x, ops.transpose(y))
    )
    return ops.maximum(squares, 0.0)
