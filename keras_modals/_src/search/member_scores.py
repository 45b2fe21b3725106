from typing import Any

import keras
from keras import ops

from keras_modals._src.training.losses import LossKinds


class MemberScores(keras.metrics.Metric):
    """The mean loss, or error rate, of every member; smaller is better.

    Args:
        population_size: Positive integer.

    Attributes:
        measure: `fn(targets, predictions)` that returns each sample's loss or error,
            `(n,)`. Must be set before use.
    """

    def __init__(self, population_size, name="member_scores"):
        super().__init__(name=name, dtype="float32")
        self.population_size = population_size
        self.measure: Any = None
        shape = (population_size,)
        self.total = self.add_weight(name="total", shape=shape, initializer="zeros")
        self.count = self.add_weight(name="count", shape=(), initializer="zeros")

    def update_state(self, targets, predictions, sample_weight=None):
        """Adds a batch.

        Args:
            targets: `(batch, ...)`.
            predictions: `(population_size * batch, ...)`, one member after the other.
            sample_weight: Optional, `(batch,)`.
        """
        members = self.population_size
        targets = ops.convert_to_tensor(targets)
        tiled = ops.tile(targets, (members, *[1] * (len(targets.shape) - 1)))
        values = ops.reshape(self.measure(tiled, predictions), (members, -1))
        weight = ops.ones_like(values[0])
        if sample_weight is not None:
            weight = weight * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        self.total.assign_add(ops.sum(values * weight, axis=1))
        self.count.assign_add(ops.sum(weight))

    def result(self):
        return ops.divide_no_nan(self.total, self.count)


def loss_measure(losses, output):
    """Creates a measure from losses: the sum of their values for each sample.

    Args:
        losses: List of losses, as `compile` takes them.
        output: Tensor of the predictions that they score.

    Raises:
        ValueError: If a loss returns one number per batch for any form of targets.
    """
    kinds = LossKinds()
    targets = output, keras.KerasTensor((None, 1)), keras.KerasTensor((None,))
    for loss in losses:
        if all(kinds.of_loss(loss, target, output).rank is None for target in targets):
            raise ValueError(
                "Members are scored by the loss of each sample, but this loss "
                'returns one number for all. Use `objective="val_accuracy"`. '
                f"Received: loss={loss!r}"
            )

    def measure(targets, predictions):
        return sum(kinds.sample_losses(loss, targets, predictions) for loss in losses)

    return measure
