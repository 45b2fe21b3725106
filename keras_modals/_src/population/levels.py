"""Values of a searched number, as used by explore rules."""


class Levels:
    """The ordered values of a number, or the values of an unordered choice.

    Args:
        name: Name of the number.
        values: Sequence of its values.
        ordered: Boolean, whether the values are ordered. Defaults to `True`.
    """

    def __init__(self, name, values, ordered=True):
        self.name = name
        self.values = list(values)
        self.ordered = ordered

    def at(self, place):
        """Returns the value at a place in `[0, 1]`.

        All values have equal parts of the interval."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def moved(self, value, share):
        """Moves a value up by a fraction of the range, clipped at the bounds."""
        if not self.ordered:
            return value
        last = len(self.values) - 1
        place = min(range(last + 1), key=lambda index: abs(self.values[index] - value))
        return self.values[min(max(place + round(share * last), 0), last)]


class Range:
    """A continuous number.

    Args:
        name: Name of the number.
        value_at: `fn(place)` that maps a place in `[0, 1]` to a value, on any scale.
        place_of: `fn(value)`, its inverse.
    """

    def __init__(self, name, value_at, place_of):
        self.name = name
        self.at = value_at
        self._place_of = place_of

    def moved(self, value, share):
        """Moves a value up by a fraction of the range, clipped at the bounds."""
        return self.at(min(max(self._place_of(value) + share, 0.0), 1.0))
