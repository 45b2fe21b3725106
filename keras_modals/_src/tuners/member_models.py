"""The models that members train in."""

from functools import partial

import keras_tuner

from keras_modals._src.arguments import BOUNDS
from keras_modals._src.members.reused_model import ReusedModel, built
from keras_modals._src.session import forget_models
from keras_modals._src.tuners.entry import BOOKKEEPING, Entry
from keras_modals._src.tuners.folder import temporary_files
from keras_modals._src.tuners.policy_space import PREFIX, policy_from_values


class MemberModels:
    """Builds models, and reuses one for all members whose values can be assigned.

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
        self._reused = self._key = None

    def begin(self, trial, parent, record):
        """Returns the model of this process in the initial state of a trial.

        Args:
            trial: The trial.
            parent: The trial that it continues, or `None`.
            record: Dict that was saved with the parent's checkpoint.
        """
        hp, entry = trial.hyperparameters, Entry(trial)
        key = {
            name: value
            for name, value in entry.values.items()
            if not (name in BOOKKEEPING or self._is_assigned(name))
        }
        if self._reused is None or key != self._key:
            self._reused = None
            forget_models()
            self._reused, self._key = ReusedModel(partial(self._build, hp)), key
        model = self._reused.model
        names = set(entry.values)
        if parent:
            before = parent.hyperparameters.values
            changed = {n for n in names if entry.values[n] != before.get(n)}
            # Unchanged values stay as training left them, such as a learning rate. The
            # checkpoint holds all of the policy.
            same = {n for n in names - changed if not n.startswith(PREFIX)}
            self._assign_values(model, entry.values, same)
            checkpoint = self._checkpoints.of(parent.trial_id)
            load = checkpoint.load_training if record["swaps"] else checkpoint.load
            load(model)
            names = changed
        else:
            self._reused.begin_anew(partial(self._build, hp), entry.seed)
        self._assign_values(model, entry.values, names)
        return model

    def load(self, trial):
        """Returns a new model with the weights that were scored in a trial."""
        model = self._build(trial.hyperparameters)
        values = trial.hyperparameters.values
        self._assign_values(model, values, set(values))
        self._checkpoints.of(trial.trial_id).load(model)
        return model

    def _is_assigned(self, name):
        return name.startswith(PREFIX) or name in self._assign

    def _build(self, hp):
        hp = hp.copy()
        for parameter in hp.space:
            # A term that is off when the model is compiled cannot be enabled later.
            if parameter.name in BOUNDS and parameter.name.endswith("_weight"):
                hp.values[parameter.name] = max(parameter.values)
        with temporary_files(self._folder):
            model = self._hypermodel.build(hp)
        try:
            return built(model)
        except TypeError as error:
            raise keras_tuner.errors.FatalTypeError(str(error)) from error

    def _assign_values(self, model, values, names):
        """Assigns the values of `names`."""
        if any(name.startswith(PREFIX) for name in names):
            model.policies = policy_from_values(values)
        for name, value in values.items():
            if name in names and name in self._assign:
                self._assign[name](model, value)
