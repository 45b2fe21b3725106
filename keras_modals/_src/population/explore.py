"""How the numbers of a child differ from its parent's."""

import keras


@keras.saving.register_keras_serializable("keras_modals")
def pba_explore(levels, value, rng):
    """Population Based Augmentation's rule, for any number or ordered choice.

    With probability 0.2 the value is drawn anew, uniformly. Otherwise it moves up or
    down, equally likely, by 0, 1, 2 or 3 tenths of its range, and stops at the bounds.
    For a probability or magnitude in steps of 0.1 these are the levels of the paper. A
    choice without order is only ever drawn anew.

    Args:
        levels: The ordered values of a number: `keras_modals.population.Levels`, or
            `Range` for a number without steps.
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
    return levels.at(uniform) if redraw else levels.moved(value, tenths / 10)


def children(values, parents, levels, explore, rng):
    """What members train with after `exploit`.

    Args:
        values: List of dicts, for each member its values by name.
        parents: List, for each member, the index of its parent.
        levels: List of what is explored, `Levels` or `Range`. A value that a member
            lacks is left out.
        explore: `fn(levels, value, rng)` that returns a new value.
        rng: A `numpy.random.Generator`.

    Returns:
        List of dicts. A member that is its own parent keeps its values; a child has
        its parent's, each of those in `levels` explored.
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
