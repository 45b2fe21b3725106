"""Properties of compiled losses that matter for views and mixed labels."""

import copy
import math
from collections import namedtuple

import keras
import numpy as np
from keras import ops

from keras_modals._src.labels import IGNORED

LossKind = namedtuple(
    "LossKind",
    ["is_mean", "takes_weights", "rank", "mixes_targets", "is_of_positions"],
    defaults=[False, False],
)
LossKind.__doc__ = """How the loss of an output treats the rows of a batch.

Attributes:
    is_mean: Whether all views can be scored together, since the loss is a mean over
        rows.
    takes_weights: Whether every row can have its own weight, so that a row can count
        for two labels.
    rank: Rank of the loss before reduction, if its first axis is rows; else `None`.
    mixes_targets: Whether the two targets of a mixed row are interpolated.
    is_of_positions: Whether the loss before reduction has the leading axes of the
        predictions, beyond the axis of rows.
"""

#: A loss known only to score a batch.
OF_BATCH = LossKind(is_mean=False, takes_weights=False, rank=None)

#: A loss with its own variables, which change with each call: called once per step.
WITH_STATE = LossKind(is_mean=True, takes_weights=False, rank=None)


def ignored_classes(losses):
    """The class indices that losses ignore, `ignore_class` in Keras."""
    classes = [getattr(loss, "ignore_class", None) for loss in losses]
    return tuple(index for index in classes if index is not None)


def may_be_unlabeled(losses):
    """The labels that may stand for no label: those ignored by the losses.

    A custom loss may ignore -1."""
    own = any(_is_own(loss) for loss in losses)
    return (*ignored_classes(losses), *[IGNORED] * own)


def settings_of_loss(loss):
    """The config of a loss; empty for a function."""
    return loss.get_config() if isinstance(loss, keras.losses.Loss) else {}


def gives_logits(task, losses):
    """Whether an output with this task and losses is logits; `None` if unknown."""
    if any(settings_of_loss(loss_named(each)).get("from_logits") for each in losses):
        return True
    if not any(_is_own(each) for each in losses):
        return False
    return {"softmax": False, "sigmoid": False, "linear": True}.get(task.activation)


#: The names for which Keras chooses a loss by the shapes of targets and predictions.
CHOSEN_BY_KERAS = ("crossentropy", "ce")


def loss_named(loss):
    """The loss with a name, or a loss itself; a name that Keras resolves in training
    is returned."""
    return loss if loss in CHOSEN_BY_KERAS else keras.losses.get(loss)


def _is_own(loss):
    """Whether a loss is a custom one."""
    module = "keras." if isinstance(loss, str) else getattr(loss, "__module__", "")
    return not (module or "").startswith("keras.")


def _state(loss):
    return keras.tree.flatten(list(getattr(loss, "__dict__", {}).values()))


class LossKinds:
    """The `LossKind` of every loss of a compiled model, determined once.

    Args:
        numbers: Names of the outputs whose targets are interpolated.
    """

    def __init__(self, numbers=()):
        self._known = {}
        self._numbers = numbers

    def of_output(self, model, name, target, prediction):
        """The `LossKind` of all losses of an output together."""
        kind = self._of_losses(model, name, target, prediction)
        if name in self._numbers:
            return kind._replace(takes_weights=False, mixes_targets=True)
        return kind

    def _of_losses(self, model, name, target, prediction):
        if type(model).compute_loss is not keras.Model.compute_loss:
            return OF_BATCH
        losses = model.output_map.losses[name]
        if not losses:
            # Without a loss there are no requirements.
            return LossKind(is_mean=True, takes_weights=True, rank=1)
        kinds = [self.of_loss(loss, target, prediction) for loss in losses]
        ranks = {kind.rank for kind in kinds}
        return LossKind(
            is_mean=all(kind.is_mean for kind in kinds),
            takes_weights=len(ranks) == 1 and all(kind.takes_weights for kind in kinds),
            rank=ranks.pop() if len(ranks) == 1 else None,
            is_of_positions=all(kind.is_of_positions for kind in kinds),
        )

    def of_loss(self, loss, target, prediction):
        shapes = tuple(target.shape[1:]), tuple(prediction.shape[1:])
        key = loss if isinstance(loss, str) else id(loss), shapes
        if key not in self._known:
            self._known[key] = _kind(loss, *shapes)
        return self._known[key]

    def sample_losses(self, loss, targets, predictions, per_position=False):
        """The loss of each sample, float32 `(batch,)`, or of each position.

        `None` if the loss has no value per sample or position."""
        rank = self.of_loss(loss, targets, predictions).rank
        if rank is None or (per_position and rank < len(predictions.shape) - 1):
            return None
        loss = _as_object(loss, targets, predictions)
        losses = ops.cast(_unreduced(loss, targets, predictions), "float32")
        if per_position:
            return ops.reshape(losses, (-1,))
        return ops.mean(ops.reshape(losses, (ops.shape(targets)[0], -1)), axis=-1)


def check_leaves_out(model, target, prediction):
    """Raises if a label output's loss cannot skip unlabeled samples.

    Args:
        model: The `ModalsModel`.
        target, prediction: Tensors with the shapes of targets and predictions.
    """
    name = model.output_map.label
    kind = model.loss_kinds.of_output(model, name, target, prediction)
    if kind.rank is None:
        raise ValueError(
            "To learn from unlabeled samples, the loss must return one number for each "
            "sample, so that theirs can be left out. Use a Keras loss, or a function "
            "that returns shape `(batch,)`, and do not override `compute_loss`. "
            f"Received: loss={model.loss!r}"
        )


def _as_object(loss, targets, predictions):
    if loss not in CHOSEN_BY_KERAS:
        return keras.losses.get(loss)
    # Keras chooses one of its losses by the shapes.
    if predictions.shape[-1] == 1:
        return keras.losses.binary_crossentropy
    if len(targets.shape) < len(predictions.shape) or targets.shape[-1] == 1:
        return keras.losses.sparse_categorical_crossentropy
    return keras.losses.categorical_crossentropy


def _kind(loss, *shapes):
    try:
        # Larger batch sizes could equal the number of classes.
        samples = [_zeros(rows, shapes) for rows in (1, 2)]
        loss = _as_object(loss, *samples[0])
        is_object = isinstance(loss, keras.losses.Loss)
        if _has_variables(loss):
            return WITH_STATE
        if is_object and type(loss).__call__ is not keras.losses.Loss.__call__:
            return OF_BATCH
        # The loss may count its calls.
        probe = copy.copy(loss)
        one, two = (tuple(_unreduced(probe, *sample).shape) for sample in samples)
    except Exception:  # For example, a loss that accepts only its own batch size.
        return OF_BATCH
    if one[:1] != (1,) or two[:1] != (2,):
        return OF_BATCH
    reduction = loss.reduction if is_object else "sum_over_batch_size"
    # A custom loss may compare rows with each other, as Keras's `Circle` does.
    compares_rows = _is_own(loss) or isinstance(loss, keras.losses.Circle)
    return LossKind(
        is_mean=reduction in ("sum_over_batch_size", "mean") and not compares_rows,
        # This reduction divides by the sum of weights, which is that of one pass.
        takes_weights=reduction != "mean_with_sample_weight",
        rank=len(one),
        is_of_positions=len(one) > 1 and one == tuple(samples[0][1].shape[: len(one)]),
    )


def _zeros(rows, shapes):
    return [
        ops.zeros((rows, *(1 if size is None else size for size in shape)))
        for shape in shapes
    ]


def scores_positions(loss, shape):
    """Whether a loss of predictions `(batch, ..., 1)` averages over positions.

    For targets `(batch, ...)`, Keras drops the last axis of such predictions, and most
    losses are then a mean over the last positions. With that axis appended to the
    targets, the same loss has a value for each position.

    Args:
        loss: A compiled loss.
        shape: Tuple, the shape of the predictions.
    """
    if len(shape) < 3 or shape[-1] != 1:
        return False
    sizes = 2, *(3 if size is None else size for size in shape[1:])
    predictions = np.linspace(0.1, 0.9, math.prod(sizes), dtype="float32")
    targets = np.arange(predictions.size) % 2
    predictions, targets = (
        ops.convert_to_tensor(each.reshape(sizes), "float32")
        for each in (predictions, targets)
    )
    try:
        loss = copy.copy(_as_object(loss, targets, predictions))
        if _has_variables(loss):
            return False
        means = _unreduced(loss, targets[..., 0], predictions)
        values = _unreduced(loss, targets, predictions)
        means, values = map(ops.convert_to_numpy, (means, values))
        is_mean = np.allclose(means, values.mean(axis=-1), rtol=1e-4, atol=0)
    except Exception:  # For example, a loss of pairs of rows.
        return False
    return values.shape == sizes[:-1] and means.shape == sizes[:-2] and is_mean


def _has_variables(loss):
    return any(isinstance(value, keras.Variable) for value in _state(loss))


def _unreduced(loss, targets, predictions):
    if isinstance(loss, keras.losses.Loss):
        return ops.convert_to_tensor(loss.call(targets, predictions))
    # Keras makes ranks equal before it calls a function.
    if len(targets.shape) + 1 == len(predictions.shape) and predictions.shape[-1] == 1:
        if len(targets.shape) == 1:
            targets = ops.expand_dims(targets, -1)
        else:
            predictions = ops.squeeze(predictions, -1)
    return ops.convert_to_tensor(loss(targets, predictions))
