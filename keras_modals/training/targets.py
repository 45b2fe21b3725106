"""Targets and weights that match a head's rows: several views, or two labels, each."""

import keras
from keras import ops

from keras_modals import backend
from keras_modals.training.outputs import (
    by_output,
    like,
    output_names,
    target_names,
)


def metric_data(model, targets, y, y_pred, sample_weight):
    """What metrics see: each sample once, as its first view. Of a population, each
    member's.

    Args:
        model: The `ModalsModel`.
        targets: The `Targets` of the step.
        y, y_pred, sample_weight: Targets and weights of the batch, predictions of
            every row.

    Returns:
        `(y, y_pred, sample_weight)`.
    """
    if targets.num_views == 1:
        return y, y_pred, sample_weight
    names = output_names(model)

    def repeated(structure, names):
        entries = {
            name: _tile(entry, targets.members)
            if name in model.augmented_outputs
            else entry
            for name, entry in by_output(structure, names).items()
        }
        return like(structure, entries)

    predictions = {
        name: _first_views(prediction, targets)
        if name in model.augmented_outputs
        else prediction
        for name, prediction in by_output(y_pred, names).items()
    }
    if sample_weight is not None:
        sample_weight = repeated(sample_weight, names)
    y = repeated(y, target_names(model, y))
    return y, like(y_pred, predictions), sample_weight


def _first_views(prediction, targets):
    views = targets.num_views // targets.members
    parts = [
        _view(prediction, member * views, targets) for member in range(targets.members)
    ]
    return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def loss_passes(model, targets, y, y_pred, sample_weight, seed):
    """What the loss sees: the weighted mean of `compute_loss` over some passes.

    Every pass has the predictions that the model made, so that a loss finds what Keras
    keeps with them. A row with two labels is in two passes, once with each, weighted by
    their shares. A loss that does not weight rows gets one label for it: the two
    mixed, if they are floats like the predictions, or else one of them, drawn by the
    shares. Where a loss is no mean over rows, each view is a pass of its own, as large
    as the batch.

    Args:
        model, targets, y, y_pred, sample_weight: As in `metric_data`.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        List of pairs of a weight and arguments `(y, y_pred, sample_weight)`. Weights
        sum to 1.
    """
    if targets.num_views == 1 and targets.partner is None:
        return [(1.0, (y, y_pred, sample_weight))]
    names = output_names(model)
    y_names = target_names(model, y)
    y_by_name = {**dict.fromkeys(names), **by_output(y, y_names)}
    predictions = by_output(y_pred, names)
    weights = by_output(sample_weight, names)
    kinds = {
        name: model.loss_kinds.of_output(
            model, name, y_by_name[name], predictions[name]
        )
        for name in names
        if name in model.augmented_outputs and y_by_name[name] is not None
    }
    apart = targets.num_views > 1 and not all(kind.is_mean for kind in kinds.values())
    takes_two = targets.partner is not None and any(
        kind.takes_weights for kind in kinds.values()
    )
    uniform = None
    if targets.partner is not None and not all(k.takes_weights for k in kinds.values()):
        uniform = backend.uniform(ops.shape(targets.partner), seed)
    passes = []
    for rows in _parts(targets, uniform, apart):
        for label in range(1 + takes_two):
            entries = {
                name: rows.entries(
                    kinds[name],
                    label,
                    y_by_name[name],
                    predictions[name],
                    weights[name],
                )
                if name in kinds
                else (y_by_name[name], predictions[name], weights[name])
                for name in names
            }
            new_y = {name: entries[name][0] for name in y_names}
            new_pred, new_weights = (
                {name: values[index] for name, values in entries.items()}
                for index in (1, 2)
            )
            if all(weight is None for weight in new_weights.values()):
                new_weights = sample_weight
            else:
                new_weights = like(y_pred, new_weights)
            passes.append(
                (
                    rows.weight / (1 + takes_two),
                    (like(y, new_y), like(y_pred, new_pred), new_weights),
                )
            )
    return passes


def _parts(targets, uniform, apart):
    """The rows of all views together, or of each view."""
    if not apart:
        return [_Rows(targets, uniform, 1.0, None)]
    views = targets.num_views
    weights = [1.0] * views if targets.view_weight is None else targets.view_weight
    return [_Rows(targets, uniform, weights[v] / views, v) for v in range(views)]


class _Rows:
    """The rows of one pass.

    Attributes:
        weight: The pass's weight.
    """

    def __init__(self, targets, uniform, weight, view):
        self.weight = weight
        self._targets, self._view = targets, view
        self._partner = self._part(targets.partner)
        self._share = self._part(targets.partner_weight)
        self._uniform = self._part(uniform)

    def entries(self, kind, label, target, prediction, weight):
        """An output's targets, predictions and weights; `label` is 0 for the sample's
        own and 1 for its partner's."""
        if self._view is not None:
            prediction = _view(prediction, self._view, self._targets)
        own, own_weight = self._repeated(target), self._repeated(weight)
        if self._view is None and self._targets.view_weight is not None:
            own_weight = self._weigh_views(own_weight, target)
        if self._partner is None:
            return own, prediction, own_weight
        partner = ops.take(target, self._partner, axis=0)
        partner_weight = self._of_partner(weight, own_weight)
        if not kind.takes_weights:
            is_soft = _is_float(own) and len(own.shape) == len(prediction.shape)
            combine = self._mixed if is_soft else self._drawn
            return (
                combine(own, partner),
                prediction,
                combine(own_weight, partner_weight),
            )
        share = self._share if label else 1.0 - self._share
        # Half of the passes have this label: what is not mixed has it in both.
        share = ops.where(self._share > 0, 2.0 * share, 1.0)
        weight = partner_weight if label else own_weight
        rank = kind.rank if weight is None else max(kind.rank, len(weight.shape))
        share = _with_rank(share, rank)
        if weight is not None:
            share = share * _with_rank(ops.cast(weight, "float32"), rank)
        return (partner if label else own), prediction, share

    def _of_partner(self, weight, own_weight):
        if weight is None:
            # Of views.
            return own_weight
        partner_weight = ops.take(weight, self._partner, axis=0)
        if self._view is None and self._targets.view_weight is not None:
            return self._times_views(partner_weight)
        return partner_weight

    def _part(self, rows):
        """Of values for all rows those of this pass."""
        if rows is None or self._view is None:
            return rows
        return ops.reshape(rows, (self._targets.num_views, -1))[self._view]

    def _repeated(self, tensor):
        if tensor is None or self._view is not None:
            return tensor
        return _tile(tensor, self._targets.num_views)

    def _weigh_views(self, weight, target):
        if weight is None:
            rows = ops.shape(target)[0] * self._targets.num_views
            weight = ops.ones((rows,), dtype="float32")
        return self._times_views(weight)

    def _times_views(self, weight):
        by_view = ops.reshape(
            ops.cast(weight, "float32"), (self._targets.num_views, -1)
        )
        by_view = by_view * self._targets.view_weight[:, None]
        return ops.reshape(by_view, ops.shape(weight))

    def _mixed(self, own, partner):
        if own is None:
            return None
        own, partner = ops.cast(own, "float32"), ops.cast(partner, "float32")
        return own + _with_rank(self._share, len(own.shape)) * (partner - own)

    def _drawn(self, own, partner):
        if own is None:
            return None
        is_partner = _with_rank(self._uniform < self._share, len(own.shape))
        return ops.where(is_partner, partner, own)


def _view(prediction, view, targets):
    rows = ops.shape(prediction)[0] // targets.num_views
    return backend.slice_rows(prediction, view * rows, rows)


def _tile(tensor, copies):
    if tensor is None or copies == 1:
        return tensor
    return ops.concatenate([tensor] * copies, axis=0)


def _with_rank(tensor, rank):
    missing = rank - len(tensor.shape)
    return ops.reshape(tensor, (*ops.shape(tensor), *[1] * missing))


def _is_float(tensor):
    return "float" in keras.backend.standardize_dtype(tensor.dtype)
