import numpy as np

from keras_modals._src.evaluation import scores
from keras_modals._src.evaluation.kinds.kind import Kind
from keras_modals._src.evaluation.partition import by_strata, quantile_bins


class ValueKind(Kind):
    """Numbers, the targets of a regression."""

    scores = {"r2": scores.r2, "rmse": scores.rmse, "mae": scores.mae}
    has_numbers = True

    def check(self, targets):
        super().check(targets)
        numbers, given = self.shape[1:], np.shape(targets)[1:]
        if None not in numbers and np.prod(numbers) != np.prod(given):
            raise ValueError(
                "Targets of a regression need as many numbers per sample as the "
                f"model's output has. Received: targets of shape {np.shape(targets)} "
                f"for a model with the output shape {self.shape}"
            )

    def scored(self, targets, outputs, from_logits):
        """Returns targets and predictions. NaN or infinite predictions become the mean
        of the targets, which has an R² of 0."""
        targets, predictions = _columns(targets), _columns(outputs)
        known = np.isfinite(predictions)
        return targets, np.where(known, predictions, targets.mean(axis=0))

    def split(self, targets, shares, seed):
        """Splits samples, stratified by quantiles of the targets."""
        numbers = _columns(targets)
        return by_strata(len(numbers), quantile_bins(numbers, shares), shares, seed)


def _columns(array):
    array = np.asarray(array, "float64")
    return array.reshape(len(array), -1)
