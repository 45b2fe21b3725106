"""Targets and weights that match a head's rows: several views, or two labels, each."""

from keras import ops

from keras_modals.training.outputs import by_output, like_predictions, output_names


def view_data(model, targets, y, y_pred, sample_weight):
    """One target and weight per row, for metrics: the sample's own.

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

    def tile_all(structure):
        entries = {
            name: _tile(entry, targets) if name in model.augmented_outputs else entry
            for name, entry in by_output(structure, names).items()
        }
        return like_predictions(entries, y_pred)

    if sample_weight is not None:
        sample_weight = tile_all(sample_weight)
    return tile_all(y), y_pred, sample_weight


def loss_data(model, targets, y, y_pred, sample_weight):
    """As `view_data`, for the loss: where classes are mixed, a row appears twice, once
    with each of its two labels, weighted by their shares. Views may have weights."""
    names = output_names(model)
    summed = _summed_outputs(model, names)
    if targets.partner is None and targets.view_weight is None and not summed:
        return view_data(model, targets, y, y_pred, sample_weight)
    mixed_y, mixed_pred, mixed_weight = {}, {}, {}
    y, predictions = by_output(y, names), by_output(y_pred, names)
    weights = by_output(sample_weight, names)
    for name in names:
        target, prediction, weight = y[name], predictions[name], weights[name]
        if name in model.augmented_outputs and target is not None:
            if weight is None:
                weight = ops.ones(ops.shape(target)[:1], dtype="float32")
            if targets.view_weight is not None:
                weight = ops.cast(weight, "float32")
            rows = _tile(target, targets)
            row_weight = _weigh_views(_tile(weight, targets), targets)
            # A mean over rows divides by `num_views` per sample, a sum by nothing.
            factor = 1.0 / targets.num_views if name in summed else 1.0
            if targets.partner is not None:
                partner = ops.take(target, targets.partner, axis=0)
                rows = ops.concatenate([rows, partner], axis=0)
                prediction = ops.concatenate([prediction, prediction], axis=0)
                row_weight = _both_shares(row_weight, weight, targets)
                factor *= 1.0 if name in summed else 2.0
            target, weight = rows, row_weight * factor
        mixed_y[name], mixed_pred[name] = target, prediction
        mixed_weight[name] = weight
    return tuple(
        like_predictions(entries, y_pred)
        for entries in (mixed_y, mixed_pred, mixed_weight)
    )


def _tile(tensor, targets):
    if tensor is None or targets.num_views == 1:
        return tensor
    return ops.concatenate([tensor] * targets.num_views, axis=0)


def _weigh_views(row_weight, targets):
    if targets.view_weight is None:
        return row_weight
    by_view = ops.reshape(row_weight, (targets.num_views, -1))
    weight = ops.cast(targets.view_weight, row_weight.dtype)
    return ops.reshape(by_view * weight[:, None], ops.shape(row_weight))


def _both_shares(row_weight, weight, targets):
    share = targets.partner_weight
    share = ops.reshape(share, (-1, *[1] * (len(weight.shape) - 1)))
    own = ops.cast(row_weight, share.dtype) * (1.0 - share)
    partner = _weigh_views(ops.take(weight, targets.partner, axis=0), targets)
    partner = ops.cast(partner, share.dtype) * share
    return ops.concatenate([own, partner], axis=0)


def _summed_outputs(model, names):
    """The outputs whose loss is a sum over rows, not a mean."""
    losses = by_output(model.loss, names)
    return [
        name
        for name, loss in losses.items()
        if getattr(loss, "reduction", None) == "sum" and name in model.augmented_outputs
    ]
