"""A generation of a member, as a part of one long training."""

import keras
import numpy as np


class Generation:
    """Ends a training after some epochs so that another training can continue it.

    At the end of `fit`, Keras swaps in averaged weights, and callbacks restore other
    weights. This class keeps the state of the model and of callbacks after the last
    epoch instead, as in the middle of a training. It also keeps the weights that were
    scored, in case a callback swaps in other weights for validation.

    Args:
        callbacks: The member's callbacks.
        states: The `CallbackStates` of the search.
        end: Integer, the epoch to end before.
        begin_with: Optional dict that `states` wrote at the end of the last generation.

    Attributes:
        callbacks: The callbacks to train with.
        logs: Dict, the logs of the last epoch. `None` if there was none.
        epochs: Integer, the number of epochs.
        stopped: Boolean, whether something else has stopped the training for good.
        callback_state: Dict for `begin_with` of the next generation.
    """

    def __init__(self, callbacks, states, end, begin_with=None):
        self._members = callbacks
        self._states = states
        self._begun: list = []
        self._begin_with = begin_with
        self._end = end
        self._scored = self._values = None
        # The first runs before the callbacks after validation, the last after them.
        self.callbacks = [_First(self), *callbacks, _Last(self)]
        self.logs: dict | None = None
        self.callback_state = None
        self.epochs = 0
        self.stopped = False

    def begin_training(self, model):
        self._begun = self._states.begin(self._members, model)
        if self._begin_with is not None:
            self._states.read(self._begin_with, self._members, model)

    def begin_epoch(self):
        self.epochs += 1
        self._scored = None

    def end_validation(self, model):
        if self._members:
            self._scored = _values(model.weights)

    def end_epoch(self, model, epoch, logs):
        self.stopped = bool(model.stop_training)
        if epoch + 1 < self._end and not self.stopped:
            return
        model.stop_training = True
        self.logs = dict(logs or {})
        self._values = _values(_state(model))
        self.callback_state = self._states.write(self._members, model, self._begun)

    def go_on(self, model):
        """Restores the state of the model from which training continues."""
        _assign(_state(model), self._values)

    def save(self, checkpoint, model, more=None):
        """Saves the state to resume from and the weights that were scored.

        Afterwards, the model has the weights that were scored.

        Args:
            checkpoint: The `Checkpoint`.
            model: The model that was trained.
            more: Optional dict of further entries for the record.
        """
        self.go_on(model)
        swaps = self._swaps_weights(model)
        if swaps:
            checkpoint.save_training(model)
            _assign(model.weights, self._scored)
        checkpoint.save(model)
        record = {
            "callbacks": self.callback_state,
            "logs": {n: float(value) for n, value in (self.logs or {}).items()},
            "stopped": self.stopped,
            "swaps": swaps,
            **(more or {}),
        }
        checkpoint.save_record(record)

    def _swaps_weights(self, model):
        """Whether the scored weights differ from the model's weights."""
        return self._scored is not None and not all(
            np.array_equal(scored, value)
            for scored, value in zip(self._scored, _values(model.weights), strict=True)
        )


class _First(keras.callbacks.Callback):
    def __init__(self, generation):
        super().__init__()
        self._generation = generation

    def on_epoch_begin(self, epoch, logs=None):
        self._generation.begin_epoch()

    def on_test_end(self, logs=None):
        self._generation.end_validation(self.model)


class _Last(keras.callbacks.Callback):
    def __init__(self, generation):
        super().__init__()
        self._generation = generation

    def on_train_begin(self, logs=None):
        self._generation.begin_training(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self._generation.end_epoch(self.model, epoch, logs)


def optimizer_variables(model):
    return [v for optimizer in model.optimizers for v in optimizer.variables]


def _state(model):
    return model.variables + model.optimizer.variables


def _values(variables):
    # A copy, since JAX may donate the memory of the array.
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
