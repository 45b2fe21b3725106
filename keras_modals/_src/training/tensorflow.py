"""The training step on TensorFlow."""

import keras
import tensorflow as tf

from keras_modals._src.training.objective import compute_objective, remember
from keras_modals._src.training.optimizers import apply_gradients, total_loss


def train_step(model, data):
    """Runs one forward pass, one backward pass, and one step of all optimizers."""
    _check_strategy(model, tf.distribute.get_strategy())
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = model.trainable_variables
    terms = model.training_terms
    groups = [variables, *(term.own_variables for term in terms)]
    with tf.GradientTape() as tape:
        objective = compute_objective(model, x, y, sample_weight)
        total = total_loss(model.optimizer, terms, objective)
    gradients = tape.gradient(total, [v for group in groups for v in group])
    apply_gradients(model, terms, groups, gradients)
    remember(model, objective, after=[objective.task_loss])
    model.update_logs(objective)
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
            "`ModalsModel` trains on several replicas only with `MirroredStrategy` and "
            "`MultiWorkerMirroredStrategy`, which keep a copy of the class memory on "
            "each. `SharedEncoderSearch` trains on one replica. Received: model "
            f"{type(model).__name__}, strategy {type(strategy).__name__} of "
            f"{strategy.num_replicas_in_sync} replicas"
        )
