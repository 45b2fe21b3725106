"""The training step on PyTorch."""

import keras
import torch

from keras_modals.training.objective import compute_objective
from keras_modals.training.outputs import first_tensor


def train_step(model, data):
    """One forward pass of the encoder, one backward pass, two optimizers."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    discriminator_variables = model.discriminator_variables
    objective = compute_objective(model, x, y, sample_weight)
    total = model.optimizer.scale_loss(objective.model_loss)
    if discriminator_variables:
        total = total + model.discriminator_optimizer.scale_loss(
            objective.discriminator_loss
        )
    trained = [v.value for v in variables + discriminator_variables]
    # Nothing is trained where all is frozen.
    gradients = (
        torch.autograd.grad(total, trained, allow_unused=True) if trained else ()
    )
    count = len(variables)
    with torch.no_grad():
        if variables:
            clipped = model.clip_gradients(list(gradients[:count]))
            model.optimizer.apply(clipped, variables)
        if discriminator_variables:
            model.discriminator_optimizer.apply(
                list(gradients[count:]), discriminator_variables
            )
        model.latent_augmentation.remember(*objective.memory)
        model.update_logs(objective, first_tensor(x).shape[0])
        y, y_pred, sample_weight = objective.metric_data
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
