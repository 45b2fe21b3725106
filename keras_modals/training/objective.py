"""The objective of one training step, in `keras.ops`, shared by all backends."""

from collections import namedtuple

from keras import ops

from keras_modals import backend
from keras_modals.layers.step_scope import StepScope
from keras_modals.memory.class_memory import is_finite
from keras_modals.training.losses import ignored_classes
from keras_modals.training.outputs import (
    by_output,
    label_output,
    losses_of,
    output_names,
    target_names,
)
from keras_modals.training.passes import loss_passes, metric_data

NO_LABELS = (
    "`ModalsModel` learns from class labels, and the training data has none. "
    "Pass `y`, or a dataset of (inputs, labels). Received: y=None"
)

Objective = namedtuple(
    "Objective",
    [
        "model_loss",
        "discriminator_loss",
        "task_loss",
        "logs",
        "metric_data",
        "memory",
        "label_counts",
    ],
)
Objective.__doc__ = """What a training step minimizes, and what it does afterwards.

Attributes:
    model_loss: Scalar to minimize over encoder and head.
    discriminator_loss: Scalar to minimize over the discriminator, or `None`. Neither
        scalar sends gradient to the other's variables: their sum can be
        differentiated once.
    task_loss: Scalar for the logs, what the user compiled, regularizers included.
    logs: Dict of the other terms by their names in the logs.
    metric_data: Arguments `(y, y_pred, sample_weight)` for `compute_metrics`.
    memory: Arguments `(latents, labels, losses)` for the layer's `remember`.
    label_counts: What `Labels.count` says of the batch.
"""


def compute_objective(model, x, y, sample_weight):
    """Runs a `ModalsModel` forward on one batch, encoder once, and scores it."""
    if y is None:
        raise ValueError(NO_LABELS)
    names, label_name = output_names(model), label_output(model)
    label_targets = by_output(y, target_names(model, y))[label_name]
    losses = losses_of(model, label_name)
    layer, ignored = model.latent_augmentation, ignored_classes(losses)
    labels = layer.labels.groups(label_targets, ignored)
    label_counts = layer.labels.count(label_targets, labels, ignored)
    with StepScope(labels, model.rows(ops.shape(labels)[0])) as scope:
        y_pred = model(x, training=True)
    labels = scope.labels

    batch = (model, scope.rows, y, y_pred, sample_weight)
    passes = loss_passes(*batch, layer.seed_generator)
    # Gradients are summed over replicas, so that each minimizes its part of the mean:
    # Keras divides its losses by their number.
    replicas = backend.num_replicas()
    task_loss = _mean_loss(model, x, passes)
    model_loss, discriminator_loss, logs = task_loss, None, {}
    if model.uses_triplet:
        triplet_loss = model.triplet_loss(labels, scope.latents)
        logs["triplet_loss"] = replicas * triplet_loss
        weight = ops.cast(model.triplet_weight, task_loss.dtype)
        model_loss = (1 - weight) * task_loss + weight * ops.cast(
            triplet_loss, task_loss.dtype
        )
    if model.uses_prior:
        adversarial_loss, discriminator_loss, accuracy = _adversarial_terms(
            model.discriminator, _without_nan(scope.latents)
        )
        logs["adversarial_loss"] = adversarial_loss
        logs["discriminator_loss"] = discriminator_loss
        logs["discriminator_accuracy"] = accuracy
        weight = ops.cast(model.prior_weight, model_loss.dtype)
        model_loss += weight * ops.cast(adversarial_loss / replicas, model_loss.dtype)
        discriminator_loss = discriminator_loss / replicas

    sample_loss = None
    if layer.needs_losses and losses:
        predictions = scope.rows.of_view(by_output(y_pred, names)[label_name], 0)
        sample_loss = _sample_losses(model, losses[0], label_targets, predictions)
    return Objective(
        model_loss,
        discriminator_loss,
        replicas * task_loss,
        logs,
        metric_data(*batch),
        (scope.latents, labels, sample_loss),
        label_counts,
    )


def _mean_loss(model, x, passes):
    losses = [
        (weight, model.compute_loss(x, *data, **model.loss_arguments))
        for weight, data in passes
    ]
    if len(losses) == 1:
        return losses[0][1]
    return sum(ops.cast(weight, loss.dtype) * loss for weight, loss in losses)


def _without_nan(latents):
    """Zeros for a latent that is not finite: one does not spoil a mean over all."""
    return ops.where(is_finite(latents)[:, None], latents, ops.zeros_like(latents))


def _adversarial_terms(discriminator, latents):
    """Adversarial loss of the encoder, loss and accuracy of the discriminator."""
    frozen = [ops.stop_gradient(v) for v in discriminator.trainable_variables]
    fooled, _ = discriminator.stateless_call(
        frozen, [v.value for v in discriminator.non_trainable_variables], latents
    )
    prior = discriminator.sample_prior(ops.shape(latents)[0])
    latents = ops.cast(ops.stop_gradient(latents), "float32")
    both = ops.concatenate([latents, ops.cast(prior, "float32")], axis=0)
    latent_logits, prior_logits = ops.split(discriminator(both), 2, axis=0)
    return (
        discriminator.encoder_loss(fooled),
        discriminator.discriminator_loss(latent_logits, prior_logits),
        discriminator.accuracy(latent_logits, prior_logits),
    )


def _sample_losses(model, loss, targets, predictions):
    """The task loss of each sample, float32 `(batch,)`."""
    targets = ops.convert_to_tensor(targets)
    predictions = ops.stop_gradient(predictions)
    losses = model.loss_kinds.sample_losses(loss, targets, predictions)
    # A loss of the batch says nothing about single samples.
    return ops.zeros((ops.shape(targets)[0],)) if losses is None else losses
