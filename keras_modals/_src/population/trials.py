class Trials:
    """A search over time that tries another value and keeps or reverts it.

    It is used for numbers that act on the shared encoder, which cannot differ between
    members. After an unchanged generation, one number is changed for the next. If the
    best score then falls by less than in the generation before, the change is reverted.
    Scores fall more slowly as training proceeds, so in doubt numbers stay unchanged.

    Args:
        levels: List of `Levels`.
        explore: `fn(levels, value, rng)` that returns a new value.
    """

    def __init__(self, levels, explore):
        self._levels = levels
        self._explore = explore
        self._score = None
        self._gain = None
        self._untried = None

    def next(self, values, score, rng):
        """Returns the values for the next generation.

        Args:
            values: Array, the values of the generation that has ended.
            score: The best score at its end, smaller is better.
            rng: A `numpy.random.Generator`.
        """
        if not self._levels:
            return values
        if self._score is None:
            self._score = score
            return values
        gain, self._score = self._score - score, score
        if self._untried is not None:
            untried, self._untried = self._untried, None
            return values if gain >= self._gain else untried
        self._gain = gain
        index = int(rng.integers(len(self._levels)))
        tried = values.copy()
        tried[index] = self._explore(self._levels[index], float(values[index]), rng)
        if tried[index] != values[index]:
            self._untried = values
        return tried
