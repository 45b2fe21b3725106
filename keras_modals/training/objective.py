"""The objective of one training step, in `keras.ops`, shared by all backends."""

from collections import namedtuple

import keras
from keras import ops

from keras_modals import backend
from keras_modals.labels import class_indices
from keras_modals.layers.class_memory import is_finite
from keras_modals.layers.step_scope import StepScope
from keras_modals.training.outputs import by_output, output_names
from keras_modals.training.targets import loss_data, view_data

NO_LABELS = (
    "`ModalsModel` learns from class labels, and the training data has none. "
    "Pass `y`, or a dataset of (inputs, labels). Received: y=None"
)

Objective = namedtuple(
    "Objective",
    ["model_loss", "discriminator_loss", "task_loss", "logs", "metric_data", "memory"],
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
"""


def compute_objective(model, x, y, sample_weight):
    """Runs a `ModalsModel` forward on one batch, encoder once, and scores it."""
    if y is None:
        raise ValueError(NO_LABELS)
    names = output_names(model)
    label_output = model.label_output or names[0]
    label_targets = by_output(y, names)[label_output]
    layer = model.latent_augmentation
    labels = class_indices(label_targets, layer.num_classes)
    with StepScope(labels) as scope:
        y_pred = model(x, training=True)
    labels = scope.labels

    batch = (model, scope.targets, y, y_pred, sample_weight)
    # Gradients are summed over replicas, so that each minimizes its part of the mean:
    # Keras divides its losses by their number.
    replicas = backend.num_replicas()
    task_loss = model.compute_loss(x, *loss_data(*batch), training=True)
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

    losses = None
    loss = by_output(model.loss, names)[label_output]
    if layer.needs_losses and loss is not None:
        losses = _first_view_losses(
            loss, label_targets, by_output(y_pred, names)[label_output]
        )
    return Objective(
        model_loss,
        discriminator_loss,
        replicas * task_loss,
        logs,
        view_data(*batch),
        (scope.latents, labels, losses),
    )


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
    both = ops.concatenate(
        [ops.cast(ops.stop_gradient(latents), prior.dtype), prior], axis=0
    )
    latent_logits, prior_logits = ops.split(discriminator(both), 2, axis=0)
    return (
        discriminator.encoder_loss(fooled),
        discriminator.discriminator_loss(latent_logits, prior_logits),
        discriminator.accuracy(latent_logits, prior_logits),
    )


def _first_view_losses(loss, targets, predictions):
    """The task loss of each sample's first view, float32 `(batch,)`."""
    targets = ops.convert_to_tensor(targets)
    batch_size = ops.shape(targets)[0]
    losses = sample_losses(loss, targets, ops.stop_gradient(predictions)[:batch_size])
    # A loss that is reduced already says nothing about single samples.
    return ops.zeros((batch_size,)) if losses is None else losses


def sample_losses(loss, targets, predictions):
    """The loss of each sample, float32 `(batch,)`; `None` of one that is reduced."""
    if len(targets.shape) + 1 == len(predictions.shape) and predictions.shape[-1] == 1:
        targets = ops.expand_dims(targets, -1)
    loss = keras.losses.get(loss)
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    losses = ops.cast(function(targets, predictions), "float32")
    if len(losses.shape) == 0:
        return None
    return ops.mean(ops.reshape(losses, (ops.shape(targets)[0], -1)), axis=-1)
