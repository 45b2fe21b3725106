"""The models in which members train."""

import random

import keras
import keras_tuner

from keras_modals._src.arguments import BOUNDS
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.session import forget_models
from keras_modals._src.tuners.entry import BOOKKEEPING, Entry
from keras_modals._src.tuners.folder import temporary_files
from keras_modals._src.tuners.generation import optimizer_variables
from keras_modals._src.tuners.policy_space import PREFIX, policy_from_values


class MemberModels:
    """Builds models, and uses one for all members where their values can be assigned.

    Args:
        hypermodel: The `keras_tuner.HyperModel`.
        assign: Dict from names of hyperparameters to `fn(model, value)`.
        checkpoints: The `CheckpointFolder` of the search.
        folder: The folder of the search.
    """

    def __init__(self, hypermodel, assign, checkpoints, folder):
        self._hypermodel = hypermodel
        self._assign = assign
        self._checkpoints = checkpoints
        self._folder = folder
        self._model = self._key = None
        self._initial_state: list = []

    def begin(self, trial, parent, record):
        """The model of this process, as the trial's member starts.

        Args:
            trial: The trial.
            parent: The trial that it goes on from, or `None`.
            record: Dict that was saved with the parent's checkpoint.
        """
        hp, entry = trial.hyperparameters, Entry(trial)
        key = {
            name: value
            for name, value in entry.values.items()
            if not (name in BOOKKEEPING or self._is_assigned(name))
        }
        if self._model is None or key != self._key:
            self._model = None
            forget_models()
            self._model, self._key = self._build(hp), key
            self._initial_state = [
                (variable, keras.ops.convert_to_numpy(variable))
                for variable in optimizer_variables(self._model)
            ]
        names = set(entry.values)
        if parent:
            before = parent.hyperparameters.values
            changed = {n for n in names if entry.values[n] != before.get(n)}
            # What is as it was stays as training left it, a learning rate for one. The
            # policy is all in the checkpoint.
            same = {n for n in names - changed if not n.startswith(PREFIX)}
            self._assign_values(self._model, entry.values, same)
            load = self._checkpoints.load
            if record["swaps"]:
                load = self._checkpoints.load_training
            load(parent.trial_id, self._model)
            names = changed
        else:
            for variable, value in self._initial_state:
                variable.assign(value)
            # Not `keras.utils.set_random_seed`: with it, TensorFlow forgets what it
            # has prepared, which costs most of a second per trial.
            random.seed(entry.seed)
            fresh = self._build(hp)
            self._model.set_weights(fresh.get_weights())
            for term, other in zip(self._model.terms, fresh.terms, strict=True):
                term.take_state(other)
        self._assign_values(self._model, entry.values, names)
        return self._model

    def load(self, trial):
        """A model of its own, as it was scored in a trial."""
        model = self._build(trial.hyperparameters)
        values = trial.hyperparameters.values
        self._assign_values(model, values, set(values))
        self._checkpoints.load(trial.trial_id, model)
        return model

    def _is_assigned(self, name):
        return name.startswith(PREFIX) or name in self._assign

    def _build(self, hp):
        hp = hp.copy()
        for parameter in hp.space:
            # A part that is off when the model is compiled cannot be turned on later.
            if parameter.name in BOUNDS and parameter.name.endswith("_weight"):
                hp.values[parameter.name] = max(parameter.values)
        with temporary_files(self._folder):
            model = self._hypermodel.build(hp)
        if not isinstance(model, ModalsModel) or not model.compiled:
            raise keras_tuner.errors.FatalTypeError(
                "The build function must return a compiled `keras_modals.ModalsModel`. "
                f"Received: {model}"
            )
        model.optimizer.build(model.trainable_variables)
        return model

    def _assign_values(self, model, values, names):
        """Assigns the values of `names`."""
        if any(name.startswith(PREFIX) for name in names):
            model.policies = policy_from_values(values)
        for name, value in values.items():
            if name in names and name in self._assign:
                self._assign[name](model, value)
