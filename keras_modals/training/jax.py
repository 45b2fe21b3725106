"""The training step on JAX, which is handed all state and hands it back."""

import jax
import keras

from keras_modals.training.objective import Objective, compute_objective
from keras_modals.training.outputs import first_tensor


def train_step(model, state, data):
    """One forward pass of the encoder, one backward pass, two optimizers."""
    trainable, others, optimizer_state, metrics_state = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    # The discriminator's weights and its optimizer's state are among them.
    other_variables = model.non_trainable_variables
    optimizer, discriminator_optimizer = model.optimizer, model.discriminator_optimizer
    constant = [*zip(optimizer.variables, optimizer_state)]
    metrics = [*zip(model.metrics_variables, metrics_state)]

    positions = _positions(model.discriminator_variables, other_variables)

    def total_loss(trainable, discriminator):
        values = _replaced(others, positions, discriminator)
        mapping = [*constant, *metrics, *zip(variables, trainable)]
        mapping += zip(other_variables, values)
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            objective = compute_objective(model, x, y, sample_weight)
            total = optimizer.scale_loss(objective.model_loss)
            if model.uses_prior:
                total += discriminator_optimizer.scale_loss(
                    objective.discriminator_loss
                )
        kept = other_variables, model.metrics_variables
        return total, (tuple(objective), *(_values(scope, values) for values in kept))

    discriminator = [others[position] for position in positions]
    gradients, (objective, others, metrics_state) = jax.grad(
        total_loss, argnums=(0, 1), has_aux=True
    )(trainable, discriminator)
    gradients, discriminator_gradients = gradients
    objective = Objective(*objective)

    with keras.StatelessScope(constant):
        gradients = model.clip_gradients(gradients)
    trainable, optimizer_state = optimizer.stateless_apply(
        optimizer_state, gradients, trainable
    )
    if model.uses_prior:
        slots = _positions(discriminator_optimizer.variables, other_variables)
        discriminator, slot_values = discriminator_optimizer.stateless_apply(
            [others[position] for position in slots],
            discriminator_gradients,
            discriminator,
        )
        others = _replaced(others, positions, discriminator)
        others = _replaced(others, slots, slot_values)

    mapping = [*zip(other_variables, others)]
    mapping += zip(model.metrics_variables, metrics_state)
    with keras.StatelessScope(mapping) as scope:
        model.latent_augmentation.remember(
            *objective.memory, after=[objective.task_loss]
        )
        model.update_logs(objective, first_tensor(x).shape[0])
        y, y_pred, sample_weight = objective.metric_data
        logs = model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
    others = _values(scope, other_variables)
    metrics_state = _values(scope, model.metrics_variables)
    return logs, (trainable, others, optimizer_state, metrics_state)


def _values(scope, variables):
    return [scope.get_current_value(variable) for variable in variables]


def _positions(variables, all_variables):
    places = {id(variable): place for place, variable in enumerate(all_variables)}
    return [places[id(variable)] for variable in variables]


def _replaced(values, positions, new):
    values = list(values)
    for position, value in zip(positions, new, strict=True):
        values[position] = value
    return values
