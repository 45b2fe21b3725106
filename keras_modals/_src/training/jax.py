"""The training step on JAX, which receives and returns all state."""

import jax
import keras

from keras_modals._src.training.objective import Objective, compute_objective, remember
from keras_modals._src.training.optimizers import total_loss


def train_step(model, state, data):
    """Runs one forward pass, one backward pass, and one step of all optimizers."""
    trainable, others, optimizer_state, metrics_state = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    # They include the terms' variables and their optimizers' state.
    other_variables = model.non_trainable_variables
    optimizer, terms = model.optimizer, model.training_terms
    constant = [*zip(optimizer.variables, optimizer_state)]
    metrics = [*zip(model.metrics_variables, metrics_state)]

    places = [_positions(term.own_variables, other_variables) for term in terms]

    def loss_of(trainable, own):
        values = others
        for positions, new in zip(places, own, strict=True):
            values = _replaced(values, positions, new)
        mapping = [*constant, *metrics, *zip(variables, trainable)]
        mapping += zip(other_variables, values)
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            objective = compute_objective(model, x, y, sample_weight)
            total = total_loss(optimizer, terms, objective)
        kept = other_variables, model.metrics_variables
        return total, (tuple(objective), *(_values(scope, values) for values in kept))

    own = [[others[position] for position in positions] for positions in places]
    gradients, (objective, others, metrics_state) = jax.grad(
        loss_of, argnums=(0, 1), has_aux=True
    )(trainable, own)
    gradients, own_gradients = gradients
    objective = Objective(*objective)

    with keras.StatelessScope(constant):
        gradients = model.clip_gradients(gradients)
    trainable, optimizer_state = optimizer.stateless_apply(
        optimizer_state, gradients, trainable
    )
    for term, positions, values, slopes in zip(
        terms, places, own, own_gradients, strict=True
    ):
        slots = _positions(term.optimizer.variables, other_variables)
        slot_values = [others[position] for position in slots]
        values, slot_values = term.optimizer.stateless_apply(
            slot_values, slopes, values
        )
        others = _replaced(others, positions, values)
        others = _replaced(others, slots, slot_values)

    mapping = [*zip(other_variables, others)]
    mapping += zip(model.metrics_variables, metrics_state)
    with keras.StatelessScope(mapping) as scope:
        remember(model, objective, after=[objective.task_loss])
        model.update_logs(objective)
        y, y_pred, sample_weight = objective.metric_data
        if objective.unlabeled is not None:
            # Masks that Keras attaches to tensors do not survive `jax.grad`.
            y_pred = model.output_map.masked(y_pred, objective.unlabeled)
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
