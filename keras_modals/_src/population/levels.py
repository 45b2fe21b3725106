"""The values of a searched number, as rules of explore see them."""


class Levels:
    """The ordered values of a number, or a choice without order.

    Args:
        name: Name of the number.
        values: Sequence of its values.
        ordered: Boolean, whether they have an order. Defaults to `True`.
    """

    def __init__(self, name, values, ordered=True):
        self.name = name
        self.values = list(values)
        self.ordered = ordered

    def at(self, place):
        """The value at a place in `[0, 1]`, of which each value has an equal part."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def moved(self, value, share):
        """The value that is a share of the range further up; bounds stop it."""
        if not self.ordered:
            return value
        last = len(self.values) - 1
        place = min(range(last + 1), key=lambda index: abs(self.values[index] - value))
        return self.values[min(max(place + round(share * last), 0), last)]


class Range:
    """A number without steps.

    Args:
        name: Name of the number.
        value_at: `fn(place)`, the value at a place in `[0, 1]`, on a scale of its own.
        place_of: `fn(value)`, the place of a value.
    """

    def __init__(self, name, value_at, place_of):
        self.name = name
        self.at = value_at
        self._place_of = place_of

    def moved(self, value, share):
        """The value that is a share of the range further up; bounds stop it."""
        return self.at(min(max(self._place_of(value) + share, 0.0), 1.0))
