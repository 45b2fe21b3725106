import numpy as np
from keras import ops

from keras_modals._src.evaluation import rarity, scores
from keras_modals._src.evaluation.compiled import name_of_loss, only_loss
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.kinds.kind import Kind, check_probabilities
from keras_modals._src.evaluation.partition import by_labels


class MultiLabelKind(Kind):
    """Several labels at once."""

    mean_iou = staticmethod(scores.mean_iou_of_labels)
    scores = {
        "average_precision": scores.average_precision,
        "macro_f1": scores.macro_f1_of_labels,
        "micro_f1": scores.micro_f1_of_labels,
        "accuracy": scores.accuracy_of_labels,
        "log_loss": scores.log_loss_of_labels,
    }

    def present(self, targets):
        """Returns booleans `(samples, labels)`, the labels of each sample.

        They are all false for samples without a target.
        """
        return np.asarray(targets) >= 0.5

    def scored(self, targets, outputs, from_logits):
        """Returns labels and probabilities. NaN or infinite predictions become 0.5."""
        outputs = np.asarray(outputs, "float32")
        if from_logits:
            outputs = ops.convert_to_numpy(ops.sigmoid(outputs))
        check_probabilities(outputs)
        known = self._known(targets)
        probabilities = np.where(np.isfinite(outputs), outputs, 0.5).astype("float64")
        probabilities = np.clip(probabilities, 1e-7, 1 - 1e-7)
        return self.present(targets)[known], probabilities[known]

    def _known(self, targets):
        return np.all(np.asarray(targets) >= 0, axis=-1)

    def split(self, targets, shares, seed):
        """Splits samples, stratified by label."""
        return by_labels(self.present(targets), shares, seed)

    def rarity(self, targets):
        """Returns sample weights by the rarity of labels.

        Samples with none of the labels form a group of their own.
        """
        present = self.present(targets)
        is_empty = self._known(targets) & ~present.any(axis=1)
        return rarity.weights_of(np.column_stack([present, is_empty]))

    def weights(self, targets):
        return {"sample_weight": self.rarity(targets)}

    def repeated(self, targets, rng):
        return rarity.repeats(self.present(targets), rng)

    def compile_for_shares(self, model):
        name = name_of_loss(only_loss(model.loss))
        if name != "binary_crossentropy":
            raise NotApplicableError(
                f"needs the loss binary_crossentropy, not the loss {name}"
            )

    def shares(self, targets, smoothing=0.0):
        targets = np.asarray(targets, "float32")
        soft = targets * (1 - smoothing) + smoothing / 2
        return np.where(self._known(targets)[:, None], soft, targets)
