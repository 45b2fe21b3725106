"""The objective of one training step, in `keras.ops`, shared by all backends."""

from collections import namedtuple

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED
from keras_modals._src.terms.term import TermStep
from keras_modals._src.training.losses import check_leaves_out
from keras_modals._src.training.outputs import StepData, by_output
from keras_modals._src.training.passes import loss_passes, metric_data

NO_LABELS = (
    "`ModalsModel` learns from labels, but the training data has none. "
    "Pass `y`, or a dataset of (inputs, labels). Received: y=None"
)

Objective = namedtuple(
    "Objective",
    [
        "model_loss",
        "own_losses",
        "task_loss",
        "logs",
        "metric_data",
        "unlabeled",
        "remembered",
        "sample_loss",
        "clean",
        "label_counts",
        "num_scored",
    ],
)
Objective.__doc__ = """The losses that a training step minimizes, and data for later.

Attributes:
    model_loss: Scalar to minimize over encoder and head.
    own_losses: List of scalars, one for each term with its own variables, to minimize
        over these. No scalar sends gradients to another's variables, so their sum can
        be differentiated once.
    task_loss: Scalar for the logs, the compiled loss including regularizers.
    logs: List of each term's dict from names in the logs to values.
    metric_data: Arguments `(y, y_pred, sample_weight)` for `compute_metrics`.
    unlabeled: Which of the label output's targets metrics must leave out, as in
        `BatchLabels`.
    remembered: List of the inputs of each layer with a memory, as `Recorded`.
    sample_loss: The samples' losses, `(batch,)`, if a memory stores them.
    clean: The input of the layer nearest to the head, as `Recorded`, for terms.
    label_counts: The counts of `Labels.read`.
    num_scored: The number of samples, or positions, that the task's loss averages, its
        weight in the logs.
"""


def compute_objective(model, x, y, sample_weight):
    """Runs a `ModalsModel` on one batch, the encoder once, and computes its losses."""
    if y is None:
        raise ValueError(NO_LABELS)
    layer, outputs = model.latent_augmentation, model.output_map
    targets = outputs.targets(y)
    label_targets = outputs.labels(targets)
    labels, label_counts = model.read_labels(label_targets)
    scope = model.step_scope(labels)
    with scope:
        y_pred = model(x, training=True)
    scope.check_all_ran()
    rows = scope.rows
    unlabeled = labels.unlabeled
    data = StepData(outputs, targets, y, y_pred, sample_weight, unlabeled, rows)
    if unlabeled is not None:
        check_leaves_out(model, *data.entries[outputs.label][:2])
    valid = _valid_positions(layer, scope)
    seed = layer.seed_generator
    passes = loss_passes(model, rows, data, seed, valid)
    # Gradients are summed over replicas, so each minimizes its part of the mean: Keras
    # divides its losses by the number of replicas.
    replicas = backend.num_replicas()
    task_loss = _mean_loss(model, x, passes)
    clean = None
    if any(term.reads_latents for term in model.terms):
        clean = scope.recorded(layer, labels.compared)
    if unlabeled is not None and layer.labels.per_position and scope.mask is not None:
        unlabeled = unlabeled & scope.mask
    predictions = by_output(y_pred, outputs.names)[outputs.label]
    mask = scope.mask_of_targets()
    step = TermStep(clean, predictions, rows, x, unlabeled, mask)
    model_loss, own_losses, logs = _with_terms(task_loss, model.terms, step, replicas)

    sample_loss = None
    losses = outputs.losses[outputs.label]
    if any(each.needs_losses for each in model.remembering) and losses:
        label_targets, predictions, _ = data.entries[outputs.label]
        predictions = ops.stop_gradient(rows.of_view(predictions, 0))
        sample_loss = model.sample_losses(label_targets, predictions)
        if sample_loss is None:
            # A loss of the whole batch has no values for single samples.
            sample_loss = ops.zeros(ops.shape(labels.groups))
    return Objective(
        model_loss,
        own_losses,
        replicas * task_loss,
        logs,
        metric_data(rows, data),
        labels.unlabeled,
        [scope.recorded(each, labels.groups) for each in model.remembering],
        sample_loss,
        clean,
        label_counts,
        rows.batch if labels.unlabeled is None else _count_known(labels.unlabeled),
    )


def _count_known(unlabeled):
    return ops.sum(ops.cast(ops.logical_not(unlabeled), "float32"))


def _valid_positions(layer, scope):
    """Which positions have a target, boolean `(batch, ...)`; `None` for all."""
    mask = scope.mask_of_targets()
    if not layer.labels.per_position:
        return mask
    shape = layer.labels.positions(scope.labels.targets)
    known = ops.reshape(scope.labels.groups != IGNORED, shape)
    return known if mask is None else known & mask


def _mean_loss(model, x, passes):
    losses = [
        (weight, model.compute_loss(x, *data, **model.loss_arguments))
        for weight, data in passes
    ]
    if len(losses) == 1:
        return losses[0][1]
    return sum(ops.cast(weight, loss.dtype) * loss for weight, loss in losses)


def remember(model, objective, after=()):
    """Updates the class memories with a step's clean latents."""
    for layer, recorded in zip(model.remembering, objective.remembered, strict=True):
        losses = objective.sample_loss
        if losses is not None and recorded.rows is not None:
            losses = backend.take_rows(losses, recorded.rows)
        layer.remember(recorded.latents, recorded.labels, losses, after)


def _with_terms(task_loss, terms, step, replicas):
    """The loss of encoder and head with all terms, the losses of the terms' own
    variables, and each term's logs."""
    weights = [ops.cast(term.weight, task_loss.dtype) for term in terms]
    shares = [w for w, term in zip(weights, terms, strict=True) if term.is_share]
    model_loss = (1 - sum(shares)) * task_loss if shares else task_loss
    own_losses, logs = [], []
    for term, weight in zip(terms, weights, strict=True):
        losses = term.losses_of_step(step)
        term_loss = ops.cast(losses.encoder / replicas, task_loss.dtype)
        # Not in place: on PyTorch this would also change the task's loss.
        model_loss = model_loss + weight * term_loss
        if losses.own is not None:
            own_losses.append(losses.own / replicas)
        logs.append(losses.logs or {f"{term.kind}_loss": losses.encoder})
    return model_loss, own_losses, logs
