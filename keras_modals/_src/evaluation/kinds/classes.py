import keras
import numpy as np

from keras_modals._src.evaluation import rarity, scores
from keras_modals._src.evaluation.compiled import (
    name_of_loss,
    only_loss,
    recompile,
)
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.kinds.kind import Kind, check_probabilities
from keras_modals._src.evaluation.partition import by_strata
from keras_modals._src.labels import Classes
from keras_modals._src.training.losses import CHOSEN_BY_KERAS, settings_of_loss


class ClassKind(Kind):
    """One class for each sample."""

    mean_iou = staticmethod(scores.mean_iou)
    scores = {
        "accuracy": scores.accuracy,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "log_loss": scores.log_loss,
        "calibration_error": scores.calibration_error,
    }
    has_accuracy = True

    def check(self, targets):
        self._check_number(np.asarray(targets))
        super().check(targets)
        self._check_format(np.asarray(targets))

    def _check_format(self, targets):
        """Refuses labels in another format than that of the loss."""
        are_rows = targets.ndim == 2 and targets.shape[1] > 1
        form = "one-hot rows" if are_rows else "class indices"
        losses = ["categorical_crossentropy", "sparse_categorical_crossentropy"]
        right, wrong = losses if are_rows else losses[::-1]
        if wrong in self.losses:
            raise ValueError(
                f"The labels are {form}, which the loss '{wrong}' does not take. "
                f"Compile the model with '{right}' instead. "
                f"Received: labels of shape {targets.shape}"
            )

    def _check_number(self, targets):
        """Refuses class labels with more classes than the model has."""
        if self.ignored:
            targets = np.where(np.isin(targets, self.ignored), 0, targets)
        if targets.dtype.kind not in "biuf" or np.any(targets % 1):
            return
        classes = Classes.of_arrays(targets).num_classes
        if classes > self.labels.num_classes:
            advice = "Give the model's output that width"
            if targets.ndim == 1 or targets.shape[-1] == 1:
                advice += "; if labels start at 1, subtract 1"
            raise ValueError(
                f"The labels have {classes} classes. {advice}. "
                f"Received: a model with the output shape {self.shape}"
            )

    def scored(self, targets, outputs, from_logits):
        groups = self.groups(targets)
        probabilities = self.labels.probabilities(outputs, from_logits)
        check_probabilities(probabilities)
        known = groups >= 0
        return groups[known], scores.as_distributions(probabilities[known])

    def split(self, targets, shares, seed):
        groups = self.groups(targets)
        return by_strata(len(groups), groups, shares, seed)

    def present(self, targets):
        """Returns booleans `(samples, classes)`, the class of each sample."""
        return self.groups(targets)[:, None] == np.arange(self.labels.num_classes)

    def rarity(self, targets):
        """Returns sample weights by the rarity of the class."""
        return rarity.weights_of(self.present(targets))

    def weights(self, targets):
        """Returns class weights, by inverse frequency."""
        counts = self._counts(targets)
        present = np.flatnonzero(counts)
        weights = counts.sum() / (len(present) * counts[present])
        pairs = zip(present.tolist(), weights.tolist(), strict=True)
        return {"class_weight": dict(pairs)}

    def _counts(self, targets):
        groups = self.groups(targets)
        return np.bincount(groups[groups >= 0])

    def repeated(self, targets, rng):
        """Repeats samples until all classes are equally frequent."""
        groups, counts = self.groups(targets), self._counts(targets)
        added = [
            rng.choice(np.flatnonzero(groups == group), counts.max() - count)
            for group, count in enumerate(counts)
            if count
        ]
        return np.concatenate([np.arange(len(groups)), *added])

    def compile_for_shares(self, model):
        loss = only_loss(model.loss)
        name = name_of_loss(loss)
        config = model.get_compile_config()
        metrics = {
            part: _metrics_of_shares(config[part])
            for part in ("metrics", "weighted_metrics")
        }
        if name == "sparse_categorical_crossentropy":
            settings = settings_of_loss(loss)
            shared = ("from_logits", "reduction")
            loss = keras.losses.CategoricalCrossentropy(
                **{key: settings[key] for key in shared if key in settings}
            )
            recompile(model, loss=keras.losses.serialize(loss), **metrics)
        elif name in CHOSEN_BY_KERAS:
            recompile(model, **metrics)
        elif name not in ("categorical_crossentropy", "binary_crossentropy"):
            raise NotApplicableError(f"needs a crossentropy, not the loss {name}")

    def shares(self, targets, smoothing=0.0):
        shares = self.labels.shares(targets)
        soft = shares * (1 - smoothing) + smoothing / self.labels.num_classes
        soft = soft * (self.groups(targets) >= 0)[:, None]
        # In the format of the output: with width 1, only the second class.
        return soft[:, 1:] if self.shape[-1] == 1 else soft


def _metrics_of_shares(metrics):
    """Replaces metrics of class indices by metrics of class shares with the same names.

    Other metrics are left out.
    """
    if isinstance(metrics, dict):
        (metrics,) = metrics.values()
    found = []
    for metric in metrics or []:
        if metric in ("accuracy", "acc"):
            found.append(metric)
            continue
        metric = keras.metrics.get(metric)
        if type(metric) in _OF_SHARES:
            of_shares = _OF_SHARES[type(metric)](name=metric.name)
            found.append(keras.metrics.serialize(of_shares))
    return found


_OF_SHARES = {
    keras.metrics.SparseCategoricalAccuracy: keras.metrics.CategoricalAccuracy,
    keras.metrics.SparseCategoricalCrossentropy: keras.metrics.CategoricalCrossentropy,
}
