"""The training step on PyTorch."""

import keras
import torch

from keras_modals._src.training.objective import compute_objective, remember
from keras_modals._src.training.optimizers import apply_gradients, total_loss


def train_step(model, data):
    """Runs one forward pass, one backward pass, and one step of all optimizers."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    objective = compute_objective(model, x, y, sample_weight)
    terms = model.training_terms
    total = total_loss(model.optimizer, terms, objective)
    groups = [variables, *(term.own_variables for term in terms)]
    trained = [v.value for group in groups for v in group]
    # If everything is frozen, nothing is trained.
    gradients = (
        torch.autograd.grad(total, trained, allow_unused=True) if trained else ()
    )
    with torch.no_grad():
        apply_gradients(model, terms, groups, list(gradients))
        remember(model, objective)
        model.update_logs(objective)
        y, y_pred, sample_weight = objective.metric_data
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
