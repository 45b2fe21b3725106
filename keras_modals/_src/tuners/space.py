"""Converts hyperparameters of Keras Tuner to the numbers of a population."""

import keras_tuner
from keras_tuner.engine.hyperparameters import Fixed, Float

from keras_modals._src.population.levels import Levels, Range
from keras_modals._src.tuners.policy_space import PREFIX


def levels_of(hp):
    """Returns a hyperparameter's `Levels`, or its `Range` if it is continuous."""
    if getattr(hp, "step", 1) is None:
        # On the hyperparameter's own scale, linear or logarithmic.
        return Range(hp.name, hp.prob_to_value, hp.value_to_prob)
    values = hp.values
    if isinstance(hp, Float):
        # Otherwise, 0.3 in steps of 0.1 would be 0.30000000000000004.
        values = [round(value, 10) for value in values]
    return Levels(hp.name, values, getattr(hp, "ordered", True))


def explored_levels(hyperparameters, names):
    """Returns the levels of the policy and of the hyperparameters in `names`."""
    return [
        levels_of(hp)
        for hp in hyperparameters.space
        if (hp.name.startswith(PREFIX) or hp.name in names)
        and not isinstance(hp, Fixed)
    ]


def first_values(hyperparameters, initial):
    """Returns the values of the first member.

    They are the defaults of the hyperparameters. Unless `initial` is `"policy"`, the
    policy has the lowest levels instead, which are zeros in a `policy_space`.
    """

    def value(hp):
        is_policy = hp.name.startswith(PREFIX) and not isinstance(hp, Fixed)
        if is_policy and initial != "policy":
            return levels_of(hp).at(0.0)
        return hp.default

    return _active_values(hyperparameters, value)


def random_values(hyperparameters, rng):
    """Draws values uniformly, each on the scale of its hyperparameter."""
    return _active_values(hyperparameters, lambda hp: levels_of(hp).at(rng.random()))


def _active_values(hyperparameters, value):
    active = keras_tuner.HyperParameters()
    for hp in hyperparameters.space:
        active.merge([hp])
        if active.is_active(hp):
            active.values[hp.name] = value(hp)
    return dict(active.values)
