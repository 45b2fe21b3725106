"""The numbers that a one-run search varies, as columns of an array."""

from keras import ops

from keras_modals._src.layers.latent_dropout import LatentDropout
from keras_modals._src.models.graph import find_layers
from keras_modals._src.population.levels import Levels

TENTHS = [level / 10 for level in range(11)]


class Searched:
    """The numbers of a `LatentAugmentation` that differ between members.

    Args:
        layer: The `LatentAugmentation`.
        heads: The `MemberHeads`, which may have `LatentDropout`.

    Attributes:
        levels: List of `Levels`: probabilities, magnitudes, other numbers.
    """

    def __init__(self, layer, heads):
        self._policy = layer.policy
        self._count = len(layer.policy.sub_policies)
        names = [
            f"{name}/{index}/{what}"
            for what in ("probability", "magnitude")
            for index, (name, _, _) in enumerate(self._policy.sub_policies)
        ]
        self.levels = [Levels(name, TENTHS) for name in names]
        self._others = []
        self._heads = heads
        self._dropouts = find_layers(heads.head, LatentDropout)
        if self._dropouts:
            rate = _shortest_float(self._dropouts[0].rate)
            self._others.append(("dropout", rate))
            self.levels.append(Levels("dropout", TENTHS[:-1]))

    def start(self, initial):
        """One initial value for each number: zeros, or the layer's policy."""
        _, *pairs = zip(*self._policy.sub_policies, strict=True)
        values = [number for numbers in pairs for number in numbers]
        if initial != "policy":
            values = [0.0] * len(values)
        return values + [value for _, value in self._others]

    def assign(self, values, members):
        """Assigns values, `(population_size, len(levels))`, to the layers."""
        count = self._count
        members.probabilities.assign(values[:, :count])
        members.magnitudes.assign(values[:, count : 2 * count])
        for layer in self._dropouts:
            self._heads.stack_of(layer.rate).assign(values[:, 2 * count])

    def policy(self, values):
        """The policy for one member's values."""
        count = self._count
        return self._policy.with_values(values[:count], values[count : 2 * count])

    def others(self, values):
        """Dict of one member's other numbers."""
        names = [name for name, _ in self._others]
        return dict(zip(names, values[2 * self._count :].tolist(), strict=True))


def _shortest_float(variable):
    """A float32 scalar as its shortest decimal: 0.1, not 0.10000000149."""
    return float(str(ops.convert_to_numpy(variable)))
