"""Search spaces for Ray Tune."""

import numbers

import numpy as np
from ray import tune
from ray.tune.search import sample

from keras_modals._src.arguments import shown
from keras_modals._src.operations import PAPER_OPERATIONS
from keras_modals._src.policies.policy import PAPER_COUNTS, Policy
from keras_modals._src.population.levels import Levels, Range

POLICY = "policy"

_TENTHS = [level / 10 for level in range(11)]


def policy_space(
    operations=PAPER_OPERATIONS, repeats=2, operation_counts=PAPER_COUNTS, layers=None
):
    """Returns a policy's probabilities and magnitudes as domains of Ray Tune.

    Use it as the entry `"policy"` of a search space. The build function receives a
    `keras_modals.Policy` in its place. The domains are the paper's levels, 0.0, 0.1,
    ..., 1.0, and work with all of Ray's search algorithms.

    Args:
        operations: Sequence of operations, by name or with options. Defaults to the
            paper's four.
        repeats: Integer, the number of times that each operation appears. Defaults to
            `2`.
        operation_counts: As in `Policy`.
        layers: Optional integer, the number of layers with their own policies. Defaults
            to `None`, one policy for all layers.

    Returns:
        A dict; with `layers`, a list of them.

    Example:

    >>> space = keras_modals.ray.policy_space(["class_mixing"], repeats=1)
    >>> [[probability, magnitude]] = space["operations"]["class_mixing"]
    >>> len(probability.categories)
    11
    """
    policy = Policy(dict.fromkeys(operations, [(0.0, 0.0)] * repeats), operation_counts)

    def space():
        config = policy.get_config()
        for pairs in config["operations"].values():
            pairs[:] = [[tune.choice(_TENTHS) for _ in pair] for pair in pairs]
        return config

    return space() if layers is None else [space() for _ in range(layers)]


def domains(space, path=()):
    """Yields the path and the domain of each domain in a nested space."""
    if isinstance(space, sample.Domain):
        yield path, space
    elif isinstance(space, (dict, list, tuple)):
        items = space.items() if isinstance(space, dict) else enumerate(space)
        for key, value in items:
            yield from domains(value, (*path, key))


def replaced(space, value_at, path=()):
    """Replaces each domain in a nested space by `value_at(path, domain)`."""
    if isinstance(space, sample.Domain):
        return value_at(path, space)
    if isinstance(space, dict):
        return {k: replaced(v, value_at, (*path, k)) for k, v in space.items()}
    if isinstance(space, (list, tuple)):
        return [replaced(v, value_at, (*path, k)) for k, v in enumerate(space)]
    return space


def levels_of(path, domain):
    """Returns the `Levels` of a domain, or its `Range` if it is continuous."""
    name = "/".join(map(str, path))
    if isinstance(domain, sample.Categorical):
        values = domain.categories
        is_ordered = all(isinstance(value, numbers.Real) for value in values)
        return Levels(name, values, is_ordered)
    sampler = domain.get_sampler()
    if isinstance(domain, sample.Integer) and isinstance(sampler, sample.Uniform):
        return Levels(name, range(domain.lower, domain.upper))
    if isinstance(domain, sample.Float):
        low, high = domain.lower, domain.upper
        if isinstance(sampler, sample.Uniform):
            return _range(name, low, high, float, float)
        if isinstance(sampler, sample.LogUniform):
            return _range(name, low, high, np.log, np.exp)
        inner = getattr(sampler, "sampler", None)
        if isinstance(inner, sample.Uniform):
            count = round((high - low) / sampler.q)
            values = [round(low + index * sampler.q, 10) for index in range(count + 1)]
            return Levels(name, values)
    raise ValueError(
        "Values to explore need bounds: use `tune.choice`, `tune.randint`, "
        "`tune.uniform`, `tune.quniform` or `tune.loguniform`. "
        f"Received: {name}={shown(domain)}"
    )


def _range(name, low, high, scale, inverse):
    start, length = scale(low), scale(high) - scale(low)

    def value_at(place):
        # Rounding must not leave the bounds.
        return min(max(float(inverse(start + place * length)), low), high)

    return Range(name, value_at, lambda value: (scale(value) - start) / length)
