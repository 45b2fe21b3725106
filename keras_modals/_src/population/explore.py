"""Perturbation of a parent's values for its children."""

import keras


@keras.saving.register_keras_serializable("keras_modals")
def pba_explore(levels, value, rng):
    """The explore rule of Population Based Augmentation.

    It applies to any number or ordered choice. With probability 0.2 the value is
    redrawn uniformly. Otherwise it moves up or down, with equal probability, by 0, 1,
    2 or 3 tenths of its range, clipped at the bounds. For a probability or magnitude in
    steps of 0.1, these are the levels of the paper. An unordered choice is only ever
    redrawn.

    Args:
        levels: The ordered values of a number: `keras_modals.population.Levels`, or
            `Range` for a continuous number.
        value: The current value.
        rng: A `numpy.random.Generator`.

    Returns:
        The new value.

    Reference:

    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)
    """
    redraw = rng.random() < 0.2
    tenths = int(rng.integers(0, 4)) * (1 if rng.random() < 0.5 else -1)
    uniform = rng.random()
    return levels.at(uniform) if redraw else levels.moved(value, tenths / 10)


def children(values, parents, levels, explore, rng):
    """Computes the values that members train with after `exploit`.

    Args:
        values: List of dicts, each member's values by name.
        parents: List with the index of each member's parent.
        levels: List of `Levels` or `Range` to explore. Values that a member lacks are
            skipped.
        explore: `fn(levels, value, rng)` that returns a new value.
        rng: A `numpy.random.Generator`.

    Returns:
        List of dicts. A member that is its own parent keeps its values. A child has its
        parent's values, with those in `levels` explored.
    """
    result = []
    for member, parent in enumerate(parents):
        own = dict(values[parent])
        if parent != member:
            for each in levels:
                if each.name in own:
                    own[each.name] = explore(each, own[each.name], rng)
        result.append(own)
    return result
