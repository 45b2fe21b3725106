"""The training step on TensorFlow."""

import keras
import tensorflow as tf

from keras_modals.training.objective import compute_objective
from keras_modals.training.outputs import first_tensor


def train_step(model, data):
    """One forward pass of the encoder, one backward pass, two optimizers."""
    _check_strategy(model, tf.distribute.get_strategy())
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    discriminator_variables = model.discriminator_variables
    with tf.GradientTape() as tape:
        objective = compute_objective(model, x, y, sample_weight)
        total = model.optimizer.scale_loss(objective.model_loss)
        if discriminator_variables:
            total += model.discriminator_optimizer.scale_loss(
                objective.discriminator_loss
            )
    gradients = tape.gradient(total, variables + discriminator_variables)
    count = len(variables)
    model.optimizer.apply(model.clip_gradients(gradients[:count]), variables)
    if discriminator_variables:
        model.discriminator_optimizer.apply(gradients[count:], discriminator_variables)
    model.latent_augmentation.remember(*objective.memory, after=[objective.task_loss])
    model.update_logs(objective, tf.shape(first_tensor(x))[0])
    y, y_pred, sample_weight = objective.metric_data
    return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)


def _check_strategy(model, strategy):
    mirrored = (
        tf.distribute.MirroredStrategy,
        tf.distribute.MultiWorkerMirroredStrategy,
    )
    if strategy.num_replicas_in_sync > 1 and not (
        isinstance(strategy, mirrored) and model.trains_on_replicas
    ):
        raise NotImplementedError(
            "`ModalsModel` trains on several replicas with `MirroredStrategy` and "
            "`MultiWorkerMirroredStrategy`, which keep a copy of the class memory on "
            "each; `SharedEncoderSearch` trains on one. Received: model "
            f"{type(model).__name__}, strategy {type(strategy).__name__} of "
            f"{strategy.num_replicas_in_sync} replicas"
        )
