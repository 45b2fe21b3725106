"""Adaptation of one optimizer to train every member as if it were alone."""

from keras import ops

#: Optimizers that do not treat each entry of a variable separately.
_COUPLING = ("Adafactor", "Lamb", "MultiOptimizer", "Muon")


def check_uncoupled(optimizer):
    """Raises for an optimizer that would couple members."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    names = {base.__name__ for base in type(inner).__mro__}
    if names & set(_COUPLING):
        raise ValueError(
            f"`{type(inner).__name__}` computes with whole variables, which would "
            "couple the members of a population. Use an elementwise optimizer such as "
            f"Adam or SGD. Received: optimizer={optimizer!r}"
        )


def take_limits(optimizer):
    """Removes the limits of gradient norms from an optimizer.

    A norm over all members would couple them.

    Returns:
        Dict of the limits, arguments of `clip_members`.
    """
    check_uncoupled(optimizer)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    limits = {
        name: getattr(inner, name)
        for name in ("clipnorm", "global_clipnorm")
        if getattr(inner, name)
    }
    if limits and inner.gradient_accumulation_steps:
        raise ValueError(
            f"`{next(iter(limits))}` together with `gradient_accumulation_steps` is "
            f"not supported. Received: optimizer={optimizer!r}"
        )
    for name in limits:
        setattr(inner, name, None)
    return limits


def clip_members(gradients, is_stacked, clipnorm=None, global_clipnorm=None):
    """Clips gradients as an optimizer does, separately for each member.

    Args:
        gradients: List of tensors, or `None` for a variable without gradient.
        is_stacked: List of booleans, whether the first axis is for members.
        clipnorm: Limit for the norm of each variable's gradient.
        global_clipnorm: Limit for the norm of all gradients that reach a member: those
            of the encoder and its own. The encoder's are clipped with the first
            member's.
    """
    pairs = list(zip(gradients, is_stacked, strict=True))
    squares = [
        None if gradient is None else _square_norms(gradient, stacked)
        for gradient, stacked in pairs
    ]
    if global_clipnorm is not None:
        # The encoder's squares are scalars, added to those of every member.
        total = sum(square for square in squares if square is not None)
        factor = _factor(total, global_clipnorm)
        first = ops.reshape(factor, (-1,))[0]
        factors = [factor if stacked else first for _, stacked in pairs]
    else:
        factors = [None if s is None else _factor(s, clipnorm) for s in squares]
    return [
        gradient
        if gradient is None
        else gradient * ops.reshape(factor, (-1, *[1] * (len(gradient.shape) - 1)))
        if stacked
        else gradient * factor
        for (gradient, stacked), factor in zip(pairs, factors, strict=True)
    ]


def _square_norms(gradient, stacked):
    """A scalar, or `(members,)`."""
    axes = list(range(int(stacked), len(gradient.shape)))
    return ops.sum(ops.square(ops.cast(gradient, "float32")), axis=axes)


def _factor(square, limit):
    norm = ops.sqrt(square)
    return ops.where(norm > limit, limit / ops.maximum(norm, 1e-30), 1.0)
