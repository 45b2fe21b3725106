"""The objective of one training step, in `keras.ops`, shared by all backends."""

from collections import namedtuple

from keras import ops

from keras_modals._src import backend
from keras_modals._src.layers.step_scope import StepScope
from keras_modals._src.training.outputs import StepData
from keras_modals._src.training.passes import loss_passes, metric_data

NO_LABELS = (
    "`ModalsModel` learns from class labels, and the training data has none. "
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
        "memory",
        "label_counts",
        "batch_size",
    ],
)
Objective.__doc__ = """What a training step minimizes, and what it does afterwards.

Attributes:
    model_loss: Scalar to minimize over encoder and head.
    own_losses: List of a scalar for each term with variables of its own, to minimize
        over these. No scalar sends gradient to another's variables: their sum can be
        differentiated once.
    task_loss: Scalar for the logs, what the user compiled, regularizers included.
    logs: List of each term's dict from names in the logs to values.
    metric_data: Arguments `(y, y_pred, sample_weight)` for `compute_metrics`.
    memory: Arguments `(latents, labels, losses)` for the layer's `remember`.
    label_counts: The counts of `Labels.read`.
    batch_size: The number of samples.
"""


def compute_objective(model, x, y, sample_weight):
    """Runs a `ModalsModel` forward on one batch, encoder once, and scores it."""
    if y is None:
        raise ValueError(NO_LABELS)
    layer, outputs = model.latent_augmentation, model.output_map
    targets = outputs.targets(y)
    label_targets = outputs.labels(targets)
    labels, label_counts = layer.labels.read(label_targets, model.ignored_labels)
    with StepScope(labels, model.rows(ops.shape(labels)[0])) as scope:
        y_pred = model(x, training=True)
    labels, rows = scope.labels, scope.rows

    data = StepData(outputs, targets, y, y_pred, sample_weight)
    passes = loss_passes(model, rows, data, layer.seed_generator)
    # Gradients are summed over replicas, so that each minimizes its part of the mean:
    # Keras divides its losses by their number.
    replicas = backend.num_replicas()
    task_loss = _mean_loss(model, x, passes)
    model_loss, own_losses, logs = _with_terms(
        task_loss, model.terms, scope.latents, labels, replicas
    )

    sample_loss = None
    losses = outputs.losses[outputs.label]
    if layer.needs_losses and losses:
        predictions = rows.of_view(data.entries[outputs.label][1], 0)
        sample_loss = _sample_losses(model, losses[0], label_targets, predictions)
    return Objective(
        model_loss,
        own_losses,
        replicas * task_loss,
        logs,
        metric_data(rows, data),
        (scope.latents, labels, sample_loss),
        label_counts,
        rows.batch,
    )


def _mean_loss(model, x, passes):
    losses = [
        (weight, model.compute_loss(x, *data, **model.loss_arguments))
        for weight, data in passes
    ]
    if len(losses) == 1:
        return losses[0][1]
    return sum(ops.cast(weight, loss.dtype) * loss for weight, loss in losses)


def _with_terms(task_loss, terms, latents, labels, replicas):
    """The loss of encoder and head with all terms, those of the terms' own variables,
    and each term's logs."""
    weights = [ops.cast(term.weight, task_loss.dtype) for term in terms]
    shares = [w for w, term in zip(weights, terms, strict=True) if term.is_share]
    model_loss = (1 - sum(shares)) * task_loss if shares else task_loss
    own_losses, logs = [], []
    for term, weight in zip(terms, weights, strict=True):
        losses = term.losses(latents, labels)
        term_loss = ops.cast(losses.encoder / replicas, task_loss.dtype)
        # Not in place: on PyTorch the task's loss would change as well.
        model_loss = model_loss + weight * term_loss
        if losses.own is not None:
            own_losses.append(losses.own / replicas)
        logs.append(losses.logs or {f"{term.kind}_loss": losses.encoder})
    return model_loss, own_losses, logs


def _sample_losses(model, loss, targets, predictions):
    """The task loss of each sample, float32 `(batch,)`."""
    targets = ops.convert_to_tensor(targets)
    predictions = ops.stop_gradient(predictions)
    losses = model.loss_kinds.sample_losses(loss, targets, predictions)
    # A loss of the batch says nothing about single samples.
    return ops.zeros((ops.shape(targets)[0],)) if losses is None else losses
