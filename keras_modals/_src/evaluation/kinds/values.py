import numpy as np

from keras_modals._src.evaluation import scores
from keras_modals._src.evaluation.kinds.kind import Kind
from keras_modals._src.evaluation.partition import by_strata, quantile_bins


class ValueKind(Kind):
    """Numbers: a regression."""

    scores = {"r2": scores.r2, "rmse": scores.rmse, "mae": scores.mae}
    has_numbers = True

    def check(self, targets):
        super().check(targets)
        numbers, given = self.shape[1:], np.shape(targets)[1:]
        if None not in numbers and np.prod(numbers) != np.prod(given):
            raise ValueError(
                "A model of numbers needs as many for each sample as its output has. "
                f"Received: targets of shape {np.shape(targets)} for a model with the "
                f"output shape {self.shape}"
            )

    def scored(self, targets, outputs, from_logits):
        """A prediction that is not a number counts as no opinion: as the mean of the
        targets, whose R² is 0."""
        targets, predictions = _columns(targets), _columns(outputs)
        known = np.isfinite(predictions)
        return targets, np.where(known, predictions, targets.mean(axis=0))

    def split(self, targets, shares, seed):
        """With the quantiles of the targets in proportion."""
        numbers = _columns(targets)
        return by_strata(len(numbers), quantile_bins(numbers, shares), shares, seed)


def _columns(array):
    array = np.asarray(array, "float64")
    return array.reshape(len(array), -1)
