"""Targets, predictions, and weights for loss and metrics, in passes over rows."""

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels.mixing import (
    drawn,
    fits,
    is_mixable,
    mixed,
    same_positions,
    with_rank,
)
from keras_modals._src.training.masks import rows_of


def metric_data(rows, data):
    """The data for metrics: each sample once, as its first view.

    In a population, each member's first view.

    Args:
        rows: The `RowMap` of the step.
        data: The `StepData` of the step: targets and weights of the batch, predictions
            of every row.

    Returns:
        `(y, y_pred, sample_weight)`.
    """
    if rows.copies == 1:
        return data.given
    entries = dict(data.entries)
    for name in data.outputs.augmented:
        target, prediction, weight = entries[name]
        is_masked = name in data.masked
        target, weight = (
            None if each is None else rows.tile_members(each)
            for each in (target, weight)
        )
        prediction = rows_of(rows.first_views, prediction, is_masked)
        entries[name] = target, prediction, weight
    return data.like(entries, keep_weights=True)


def loss_passes(model, rows, data, seed, valid=None):
    """The data for the loss, which is a weighted mean of `compute_loss` over passes.

    A row with two labels counts for both, weighted by their shares. A loss that does
    not weight rows gets one label per row: the two mixed, if they are floats like the
    predictions, else one of them, drawn with their shares as probabilities. If every
    loss is a mean over rows, one pass is enough: it has all views, and rows with two
    labels twice. Otherwise each view, and each of the two labels, is a separate pass of
    the size of the batch. Predictions keep the data that Keras attaches for its losses.

    If each position has a target, targets are mixed like latents at positions where
    both samples have one; elsewhere the sample keeps its own.

    Args:
        model: The `ModalsModel`.
        rows, data: As in `metric_data`.
        seed: A `keras.random.SeedGenerator`.
        valid: Boolean `(batch, ...)`, which positions of the samples have a target;
            `None` for all.

    Returns:
        List of pairs of a weight and arguments `(y, y_pred, sample_weight)`. Weights
        sum to 1.
    """
    if rows.copies == 1 and rows.partner is None:
        return [(1.0, data.given)]
    kinds = {
        name: model.loss_kinds.of_output(model, name, *data.entries[name][:2])
        for name in data.outputs.augmented
        if data.entries[name][0] is not None
    }
    uniform = None
    if rows.partner is not None and not all(k.takes_weights for k in kinds.values()):
        uniform = backend.uniform(ops.shape(rows.partner), seed)
    passes = []
    for each in _passes(rows, kinds.values(), uniform, valid):
        entries = dict(data.entries)
        for name, kind in kinds.items():
            is_masked = name in data.masked
            entries[name] = each.entries(kind, is_masked, *entries[name])
        passes.append((each.weight, data.like(entries)))
    return passes


#: The two labels of a row: the sample's own and its partner's.
OWN, PARTNER = 0, 1


def _passes(rows, kinds, uniform, valid):
    are_means = all(kind.is_mean for kind in kinds)
    views = [None] if are_means else range(rows.copies)
    ranks = {kind.rank for kind in kinds if kind.takes_weights}
    labels: list[tuple[int, ...]]
    if rows.partner is None or not ranks:
        labels = [(OWN,)]
    elif are_means and ranks == {1}:
        labels = [(OWN, PARTNER)]
    else:
        # Two passes, so that predictions keep the mask of their positions.
        labels = [(OWN,), (PARTNER,)]
    return [
        _Pass(rows, uniform, valid, some, view, 1.0 / (len(views) * len(labels)))
        for view in views
        for some in labels
    ]


class _Pass:
    """One pass over the rows of all views, or of one view.

    The rows have one of their two labels, or each in turn.

    Attributes:
        weight: The pass's weight.
    """

    def __init__(self, rows, uniform, valid, labels, view, weight):
        self._rows, self._labels, self._view = rows, labels, view
        self._valid = valid
        self.weight = weight
        self._partner = self._part(rows.partner)
        self._share = self._part(rows.share)
        self._uniform = self._part(uniform)

    def entries(self, kind, is_masked, target, prediction, weight):
        """An output's targets, predictions, and weights."""
        if self._view is not None:
            prediction = rows_of(self._part, prediction, is_masked)
        own = self._repeated(target), self._repeated(weight)
        if self._partner is None:
            return own[0], prediction, own[1]
        partner = self._of_partner(target), self._of_partner(weight)
        if self._valid is not None and fits(self._valid, prediction):
            valid = self._repeated(self._valid) & self._of_partner(self._valid)
            pairs = zip(partner, own, strict=True)
            partner = tuple(_where(valid, *pair) for pair in pairs)
        if not kind.takes_weights:
            target, weight = (
                mixed(*both, self._share)
                if kind.mixes_targets or is_mixable(own[0], prediction)
                else drawn(*both, self._share, self._uniform)
                for both in zip(own, partner, strict=True)
            )
            return target, prediction, weight
        both = own, partner
        shape = ops.shape(prediction)
        parts = [
            self._with_share(kind, label, shape, *both[label]) for label in self._labels
        ]
        if len(parts) == 2:

            def twice(tensor):
                return backend.tile_rows(tensor, 2)

            prediction = rows_of(twice, prediction, is_masked)
            parts = [[ops.concatenate(each) for each in zip(*parts, strict=True)]]
        target, weight = parts[0]
        return target, prediction, weight

    def _with_share(self, kind, label, shape, target, weight):
        """Targets with one of the labels, weighted by twice its share.

        Twice, because the mean is also over the rows with the other label. `shape` is
        the shape of predictions."""
        share = 2.0 * self._share
        if label == OWN:
            share = 2.0 - share
        if len(self._labels) == 1:
            # Unmixed rows have the sample's own label in both passes.
            share = ops.where(self._share > 0, share, 1.0)
        rank = kind.rank if weight is None else max(kind.rank, len(weight.shape))
        share = with_rank(share, rank)
        if kind.is_of_positions:
            # Keras multiplies weights by masks in place.
            share = share * ops.ones(shape[:rank])
        if weight is not None:
            share = share * with_rank(ops.cast(weight, "float32"), rank)
        return target, share

    def _of_partner(self, tensor):
        return None if tensor is None else backend.take_rows(tensor, self._partner)

    def _part(self, rows):
        """Selects the rows of this pass."""
        if rows is None or self._view is None:
            return rows
        return self._rows.of_view(rows, self._view)

    def _repeated(self, tensor):
        if tensor is None or self._view is not None:
            return tensor
        return self._rows.tile(tensor)


def _where(valid, partner, own):
    """The partner's values where valid, `(rows, ...)`, else the sample's own."""
    if own is None or not same_positions(valid, own):
        return partner
    return ops.where(with_rank(valid, len(own.shape)), partner, own)
