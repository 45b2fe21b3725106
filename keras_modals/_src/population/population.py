"""The values, scores, and parents of a population's members."""

import numpy as np

from keras_modals._src.population.exploit import exploit
from keras_modals._src.population.explore import children
from keras_modals._src.population.scores import lineage, smooth
from keras_modals._src.population.trials import Trials


class Population:
    """Members' values and scores over the epochs. Knows no model and trains nothing.

    The member with the best smoothed score is always the first. Everything that happens
    after an epoch depends only on the seed, the epoch, and the scores so far, so only
    scores need to be saved.

    Args:
        levels: List of `Levels`, for values that differ between members.
        start: `(size, len(levels))`, the values of the first generation.
        shared_levels, shared_start: Like `levels`, with one value each: what all
            members share. Changed by trials, see `Trials`.
        epochs_per_generation: Positive integer.
        quantile: Float in `(0, 0.5]`, the size of the worst and of the best part.
        explore: `fn(levels, value, rng)` that returns a new value.
        smoothing: Float in `[0, 1)`, the weight of earlier scores in a member's
            smoothed score.
        seed: Non-negative integer.

    Attributes:
        values: `(size, len(levels))`, the current values.
        shared: `(len(shared_levels),)`, the current shared values.
        records: List with one dict per epoch: the `values` and `shared` used in it, the
            `scores` and `smoothed` scores, smaller is better, and the `parents` of the
            members after it, in their new order.
    """

    def __init__(
        self,
        levels,
        start,
        shared_levels=(),
        shared_start=(),
        *,
        epochs_per_generation,
        quantile,
        explore,
        smoothing,
        seed,
    ):
        self.levels = levels
        self.shared_levels = list(shared_levels)
        self.size = len(start)
        self._start = np.asarray(start, float), np.asarray(shared_start, float)
        self._epochs_per_generation = epochs_per_generation
        self._quantile = quantile
        self._explore = explore
        self._smoothing = smoothing
        self._seed = seed
        self.replay([])

    @property
    def smoothed(self):
        """Members' smoothed scores, smaller is better; zeros before the first epoch."""
        if not self.records:
            return np.zeros(self.size)
        return self.records[-1]["smoothed"][self.records[-1]["parents"]]

    def named(self, shared):
        """Dict from names to values of what members share."""
        names = [levels.name for levels in self.shared_levels]
        return dict(zip(names, shared.tolist(), strict=True))

    def replay(self, scores):
        """Restarts with the given scores of some epochs."""
        self.values, self.shared = (values.copy() for values in self._start)
        self.records: list[dict] = []
        self._trials = Trials(self.shared_levels, self._explore)
        for row in scores:
            self.end_epoch(row)

    def end_epoch(self, scores):
        """Processes the members' scores after an epoch, smaller is better.

        Returns:
            List with the parent of each member of the next epoch.
        """
        scores = np.asarray(scores, float)
        before = self.smoothed if self.records else np.full(self.size, np.nan)
        smoothed = smooth(scores, before, self._smoothing)
        number = len(self.records) + 1
        rng = np.random.default_rng((self._seed, number))
        values, shared = self.values, self.shared
        parents = list(range(self.size))
        failed = ~np.isfinite(smoothed)
        ends = number % self._epochs_per_generation == 0
        if failed.any() and not (ends or failed.all()):
            # Replace a failed member immediately.
            parents = exploit(np.where(failed, -np.inf, 0.0), self._quantile, rng)
            parents = [p if failed[m] else m for m, p in enumerate(parents)]
            values = self._explored(parents, rng)
        elif ends and not failed.all():
            parents = exploit(np.where(failed, -np.inf, -smoothed), self._quantile, rng)
            values = self._explored(parents, rng)
            shared = self._trials.next(shared, np.min(smoothed[~failed]), rng)
        order = list(range(self.size))
        # Exclude children, which have their parent's score.
        is_candidate = ~failed & (np.asarray(parents) == order)
        best = int(np.argmin(np.where(is_candidate, smoothed, np.inf)))
        order[0], order[best] = order[best], order[0]
        parents = [parents[member] for member in order]
        self.records.append(
            {
                "values": self.values,
                "shared": self.shared,
                "scores": scores,
                "parents": parents,
                "smoothed": smoothed,
            }
        )
        self.values, self.shared = values[order], shared
        return parents

    def _explored(self, parents, rng):
        names = [levels.name for levels in self.levels]
        values = [dict(zip(names, row, strict=True)) for row in self.values.tolist()]
        values = children(values, parents, self.levels, self._explore, rng)
        return np.array([[row[name] for name in names] for row in values])

    def lineage(self):
        """The first member's ancestors, one per epoch, oldest first.

        Returns:
            List of pairs of a member and the record of the epoch it was trained in.
        """
        *line, _ = lineage((len(self.records), 0), self._parent)
        return [(member, self.records[epoch]) for epoch, member in line]

    def _parent(self, place):
        epoch, member = place
        if not epoch:
            return None
        return epoch - 1, self.records[epoch - 1]["parents"][member]
