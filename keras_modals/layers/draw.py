"""All randomness of an augmentation, drawn in one place."""

from collections import namedtuple

from keras import ops

from keras_modals import backend

#: A hard example is the nearest in direction of `CANDIDATES` latents, each the winner
#: of `CANDIDATE_POOL` uniformly drawn ones in proportion to exp(hardness).
CANDIDATES, CANDIDATE_POOL = 2, 8

NO_OPERATION = -1

Draw = namedtuple(
    "Draw",
    ["sub_policy", "magnitude", "hard", "gumbel", "partner", "pair", "noise", "mixing"],
)
Draw.__doc__ = """What one operation, on each of `n` latents, depends on by chance.

A field that the policy has no use for is `None`.

Attributes:
    sub_policy: int32 `(n,)`, which sub-policy to apply, `NO_OPERATION` for none.
    magnitude: float32 `(n,)`. For `class_mixing` the share of the partner.
    hard: Uniform `(n, CANDIDATES, CANDIDATE_POOL)`, the latents to consider.
    gumbel: Standard Gumbel, shape of `hard`, which decides among them.
    partner: Uniform `(n,)`, the sample whose class a difference is taken from.
    pair: Uniform `(n, 2)`, which two latents of that class.
    noise: Standard normal `(n, features)`.
    mixing: Uniform `(n,)`, the sample to mix with; one for all steps of a row.
"""


def draw_steps(policy, probabilities, magnitudes, batch_size, views, features, seed):
    """Draws the policy's walk and what its operations need.

    Args:
        policy: The `Policy` whose operations and operation counts hold.
        probabilities, magnitudes: Current values, one per sub-policy; or of several
            policies, `(policies, sub_policies)`, each of which holds for as many
            consecutive latents.
        batch_size, views: Draws are for `views` times `batch_size` latents.
        features: Their width.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        List of `Draw`, one for each operation that a latent may undergo.
    """
    names = [name for name, _, _ in policy.sub_policies]
    num_steps = len(policy.operation_counts) - 1
    hard_width = CANDIDATES * CANDIDATE_POOL * ("hard_interpolation" in names)
    pair_width = "difference_transform" in names
    mixing_width = "class_mixing" in names
    step_widths = [hard_width, hard_width, pair_width, 2 * pair_width, mixing_width]
    widths = [len(names), len(names), 1, mixing_width] + step_widths * num_steps
    numbers = backend.uniform((views * batch_size, sum(widths)), seed)
    keys, accept, count, mixing, *rest = _split(numbers, widths)

    keys = ops.where(accept < _by_row(probabilities, numbers), keys, _REJECTED)
    magnitudes = _by_row(magnitudes, numbers)
    walk = _walk(keys, count[:, 0], policy.operation_counts)
    mixes = ops.convert_to_tensor([name == "class_mixing" for name in names])
    noise = [None] * num_steps
    if "gaussian_noise" in names:
        noise = _shared_noise((batch_size, features), views, num_steps, seed)
    steps = []
    for step, sub_policy in enumerate(walk):
        hard, choice, partner, pair, share = rest[step * 5 : step * 5 + 5]
        index = ops.maximum(sub_policy, 0)
        magnitude = _at(magnitudes, index)
        if mixing_width:
            magnitude = ops.where(
                backend.take_rows(mixes, index), magnitude * share[:, 0], magnitude
            )
        pool = (-1, CANDIDATES, CANDIDATE_POOL)
        steps.append(
            Draw(
                sub_policy=sub_policy,
                magnitude=magnitude,
                hard=ops.reshape(hard, pool) if hard_width else None,
                gumbel=_gumbel(ops.reshape(choice, pool)) if hard_width else None,
                partner=partner[:, 0] if pair_width else None,
                pair=pair if pair_width else None,
                noise=noise[step],
                mixing=mixing[:, 0] if mixing_width else None,
            )
        )
    return steps


def other_index(uniform, index, size):
    """Another index in `[0, size)` than `index`; the same one if there is no other."""
    size = ops.cast(size, "int32")
    return (index + 1 + uniform_index(uniform, size - 1)) % size


def uniform_index(uniform, size):
    """The index in `[0, size)` that a uniform number in `[0, 1)` stands for; or 0.

    The product never rounds up to `size`: the largest float32 below 1 is `1 - 2**-24`.
    """
    return ops.cast(uniform * ops.cast(size, "float32"), "int32")


_REJECTED = 2.0


def _by_row(values, rows):
    """Values of one policy as they are, of several once for each row."""
    values = ops.convert_to_tensor(values)
    if len(values.shape) == 1:
        return values
    return ops.repeat(values, ops.shape(rows)[0] // values.shape[0], axis=0)


def _at(values, index):
    """The value of each row's sub-policy, as `_by_row` returns them."""
    if len(values.shape) == 1:
        return backend.take_rows(values, index)
    return ops.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _walk(keys, count, operation_counts):
    """Which sub-policy each step applies to each row.

    Accepted sub-policies carry uniform keys: in the order of their keys they are a
    random order of the accepted ones, of which the first few are applied.
    """
    walk = []
    not_more = 0.0
    columns = ops.arange(keys.shape[1], dtype="int32")
    for probability in operation_counts[:-1]:
        not_more += probability
        first = ops.cast(ops.argmin(keys, axis=-1), "int32")
        applied = (ops.min(keys, axis=-1) < _REJECTED) & (count >= not_more)
        walk.append(ops.where(applied, first, NO_OPERATION))
        keys = ops.where(columns == first[:, None], _REJECTED, keys)
    return walk


def _shared_noise(shape, views, num_steps, seed):
    """Standard normal noise for each step, drawn once per sample.

    Normal numbers are what is expensive. Each view and step of a sample takes those of
    another sample of the batch, so that what one sample meets is independent.
    """
    batch_size, features = shape
    turns = views * num_steps
    # More rows than turns, so that no two turns are alike.
    noise = backend.normal((batch_size + turns, features), seed)
    rolled = [ops.roll(noise, turn, axis=0)[:batch_size] for turn in range(turns)]
    return [
        ops.concatenate(rolled[step * views : (step + 1) * views])
        for step in range(num_steps)
    ]


def _gumbel(uniform):
    return -ops.log(-ops.log(ops.clip(uniform, 1e-7, 1.0 - 1e-7)))


def _split(numbers, widths):
    parts = []
    start = 0
    for width in widths:
        parts.append(numbers[:, start : start + width])
        start += width
    return parts
