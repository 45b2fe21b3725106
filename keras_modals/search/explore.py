"""How a population's numbers are perturbed."""

import keras


@keras.saving.register_keras_serializable("keras_modals")
def pba_explore(hyperparameter, value, rng):
    """Population Based Augmentation's rule, for any number or ordered choice.

    With probability 0.2 the value is drawn anew, uniformly. Otherwise it moves up or
    down, equally likely, by 0, 1, 2 or 3 tenths of its range, and stops at the bounds.
    For a probability or magnitude in steps of 0.1 these are the levels of the paper. A
    choice without order is only ever drawn anew.

    Args:
        hyperparameter: A `keras_tuner` hyperparameter.
        value: Its value.
        rng: A `numpy.random.Generator`.

    Returns:
        The new value.

    Reference:

    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)
    """
    redraw = rng.random() < 0.2
    tenths = int(rng.integers(0, 4)) * (1 if rng.random() < 0.5 else -1)
    uniform = rng.random()
    levels = _levels(hyperparameter)
    if levels is None:
        # A range without steps, on its own scale: linear or logarithmic.
        if redraw:
            return hyperparameter.prob_to_value(uniform)
        place = hyperparameter.value_to_prob(value) + tenths / 10
        return hyperparameter.prob_to_value(min(max(place, 0.0), 1.0))
    if redraw:
        return levels[int(uniform * len(levels))]
    if not getattr(hyperparameter, "ordered", True):
        return value
    place = min(range(len(levels)), key=lambda index: _gap(levels[index], value))
    place += round(tenths / 10 * (len(levels) - 1))
    return levels[min(max(place, 0), len(levels) - 1)]


def random_value(hyperparameter, rng):
    """A value drawn uniformly, on the hyperparameter's own scale."""
    levels = _levels(hyperparameter)
    if levels is None:
        return hyperparameter.prob_to_value(rng.random())
    return levels[int(rng.random() * len(levels))]


def _levels(hyperparameter):
    if getattr(hyperparameter, "step", 1) is None:
        return None
    # In steps of 0.1, 0.3 is 0.30000000000000004 by then.
    return [
        round(value, 10) if isinstance(value, float) else value
        for value in hyperparameter.values
    ]


def _gap(level, value):
    if isinstance(level, (int, float)) and isinstance(value, (int, float)):
        return abs(level - value)
    return level != value
