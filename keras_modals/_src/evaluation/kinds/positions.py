import numpy as np
from keras import ops

from keras_modals._src.evaluation import rarity
from keras_modals._src.evaluation.kinds.kind import Kind
from keras_modals._src.evaluation.partition import by_labels


class PositionKind(Kind):
    """A label for each position.

    Args:
        labels, shape, ignored: As in `Kind`.
        each: The `Kind` of the label at one position.
    """

    def __init__(self, labels, shape, ignored, each):
        super().__init__(labels, shape, ignored)
        self.each = each
        self.scores = {"mean_iou": each.mean_iou, **each.scores}

    def check(self, targets):
        super().check(targets)
        positions = self.shape[1:-1]
        given = np.shape(targets)[1 : len(self.shape) - 1]
        pairs = zip(positions, given, strict=False)
        if len(given) < len(positions) or any(a not in (None, b) for a, b in pairs):
            raise ValueError(
                "Targets need a label for each position of the model's output. "
                f"Received: targets of shape {np.shape(targets)} for a model with the "
                f"output shape {self.shape}"
            )

    def rows(self, targets):
        """Returns targets with all positions on one axis, and -1 for no label."""
        labels, _ = self.labels.read(ops.convert_to_tensor(targets), self.ignored)
        return ops.convert_to_numpy(labels.compared)

    def present(self, targets):
        """Returns booleans `(samples, labels)`, the labels in each sample."""
        present = self.each.present(self.rows(targets))
        return present.reshape(len(targets), -1, present.shape[-1]).any(axis=1)

    def scored(self, targets, outputs, from_logits):
        rows = np.reshape(outputs, (-1, np.shape(outputs)[-1]))
        return self.each.scored(self.rows(targets), rows, from_logits)

    def split(self, targets, shares, seed):
        """Splits samples, stratified by the labels that occur in them."""
        return by_labels(self.present(targets), shares, seed)

    def weights(self, targets):
        """Returns weights of positions by the rarity of their labels."""
        positions = np.shape(targets)[: len(self.shape) - 1]
        weights = self.each.rarity(self.rows(targets))
        return {"sample_weight": weights.reshape(positions)}

    def repeated(self, targets, rng):
        return rarity.repeats(self.present(targets), rng)
