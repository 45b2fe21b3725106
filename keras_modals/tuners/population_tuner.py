"""Trains a population of models, with Keras Tuner."""

import contextlib
import os
import pathlib
import random
import time
from functools import cached_property, partial
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_modals.arguments import BOUNDS, check_integer
from keras_modals.models.assignment import assign_value
from keras_modals.models.modals_model import ModalsModel
from keras_modals.policies.files import write_json
from keras_modals.policies.policy_schedule import PolicySchedule
from keras_modals.search.explore import pba_explore
from keras_modals.session import forget_models
from keras_modals.tuners import local_workers
from keras_modals.tuners.callback_states import CallbackStates, callback_list
from keras_modals.tuners.checkpoints import CheckpointFolder
from keras_modals.tuners.cluster import PatientClient, signs_of_life, watch_workers
from keras_modals.tuners.entry import (
    BOOKKEEPING,
    EPOCHS,
    ERROR,
    PARENT,
    SEED,
    Entry,
    describe,
)
from keras_modals.tuners.folder import clear_temporary_files, read_json, temporary_files
from keras_modals.tuners.generation import Generation, optimizer_variables
from keras_modals.tuners.policy_space import PREFIX, policy_from_values
from keras_modals.tuners.population_oracle import (
    ORACLE_UNUSED,
    VERSION,
    PopulationBasedOracle,
)
from keras_modals.tuners.progress import Progress
from keras_modals.tuners.unused import check_unused

#: Arguments of `keras_tuner.Tuner` that would do nothing, and what does it.
_UNUSED = {
    **ORACLE_UNUSED,
    "max_model_size": "Raise an error in the build function for a model too large",
    "optimizer": "Compile the model with it in the build function",
    "loss": "Compile the model with it in the build function",
    "metrics": "Compile the model with them in the build function",
    "distribution_strategy": "Make the model in its scope in the build function",
    "logger": "Pass callbacks to `search`",
}


class PopulationBasedTuner(keras_tuner.Tuner):
    """Searches a schedule of policies with one population of models.

    The build function declares what is searched, the policy with
    `keras_modals.tuners.policy_space`, and returns a compiled `ModalsModel`. A model is
    built and compiled once per process: from then on members' weights are loaded and
    their values assigned. Hyperparameters that cannot be assigned need a new model
    whenever they differ.

    Beginning with the second generation a member goes on from its parent's weights,
    both optimizers' state, class memory, epoch and callbacks. Initial weights and what
    layers draw follow from the seed and the member; the order of batches is not seeded:
    for a search that can be repeated exactly, pass `shuffle=False`.

    A member's training is one, cut into generations. It is scored by the last epoch of
    each, and its checkpoint, which `get_best_models` loads, has the weights that were
    validated then. What Keras does only when a training ends is not part of it: an
    optimizer with `use_ema` trains on without the averages, and
    `EarlyStopping(restore_best_weights=True)` restores nothing. For scores of the
    averages, add `keras.callbacks.SwapEMAWeights()`.

    Every generation calls `on_train_begin` and `on_train_end` of a copy of each
    callback, which has its parent's attributes after `on_train_begin`: patience counts
    on, and so does what a callback of your own counts. Attributes that change must be
    picklable, open files and parts of the model aside; a class leaves others out in its
    `__getstate__`. Where a callback stops the training of a member, it has ended: in
    later generations the member stays as it is, and so does one that copies it.

    Args:
        hypermodel: A build function of `hp`, or `keras_tuner.HyperModel`.
        objective: As in `PopulationBasedOracle`.
        population_size: As in `PopulationBasedOracle`.
        generations: As in `PopulationBasedOracle`.
        epochs_per_generation: Positive integer. Defaults to `3`, the paper's.
        quantile, explore, explored, initial, seed: As in `PopulationBasedOracle`.
        assign: Optional mapping from the names of further hyperparameters to
            `fn(model, value)` that assigns them to a compiled model. They are explored
            as well.
        hyperparameters, tune_new_entries, allow_new_entries: As in
            `keras_tuner.Oracle`.
        **kwargs: `directory`, `project_name`, `overwrite` and `tuner_id`, as in
            `keras_tuner.Tuner`.

    Example:

    ```python
    def build(hp):
        model = keras_modals.augment(
            make_model(), dropout=0.0, policy=keras_modals.tuners.policy_space(hp)
        )
        rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
        model.compile(
            keras.optimizers.Adam(rate),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            triplet_weight=hp.Float("triplet_weight", 0.0, 0.5, step=0.05),
        )
        return model

    tuner = keras_modals.tuners.PopulationBasedTuner(build, population_size=8)
    tuner.search(x, y, validation_data=(x_val, y_val), workers=2)
    schedule = tuner.get_best_schedule()
    ```
    """

    oracle: Any

    def __init__(
        self,
        hypermodel,
        objective="val_accuracy",
        population_size=16,
        generations=20,
        epochs_per_generation=3,
        quantile=0.25,
        explore=pba_explore,
        explored=None,
        initial="default",
        seed=None,
        assign=None,
        hyperparameters=None,
        tune_new_entries=True,
        allow_new_entries=True,
        **kwargs,
    ):
        arguments = {**locals(), **kwargs}
        for name in ("self", "kwargs", "__class__"):
            arguments.pop(name, None)
        # With these a worker makes a tuner like this one.
        self.arguments = arguments
        if hypermodel is None:
            raise ValueError(
                "Invalid value received for argument `hypermodel`. Expected a build "
                "function or a `keras_tuner.HyperModel`. Received: hypermodel=None"
            )
        if kwargs.get("executions_per_trial", 1) != 1:
            raise ValueError(
                "A member trains once per generation. To train more, raise "
                "`population_size`, or search again with another `seed`. Received: "
                f"executions_per_trial={kwargs['executions_per_trial']}"
            )
        check_unused(_UNUSED, kwargs)
        check_integer("epochs_per_generation", epochs_per_generation, 1)
        self.epochs_per_generation = epochs_per_generation
        assignable = {name: partial(_assign, name) for name in BOUNDS}
        self._assign = {**assignable, **(assign or {})}
        self._model = self._model_key = None
        self._initial_state: list = []
        self._waited = True
        oracle = PopulationBasedOracle(
            objective=objective,
            population_size=population_size,
            generations=generations,
            quantile=quantile,
            explore=explore,
            explored=tuple(self._assign) if explored is None else explored,
            initial=initial,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
        )
        self.population = oracle
        super().__init__(oracle, hypermodel, **kwargs)
        if self.oracle is not oracle:
            self.oracle = PatientClient(self.oracle)

    # Search ---------------------------------------------------------------

    def search(self, *fit_args, workers=1, verbose="auto", **fit_kwargs):
        """Searches, or goes on with a search that was interrupted.

        Args:
            *fit_args, **fit_kwargs: What `fit` takes; `validation_data` or
                `validation_split` is needed, `epochs` is not.
            workers: Integer, how many processes of this machine train at the same
                time. With more than 1, the build function and the data are sent to
                them: the data must be arrays, or else picklable. Defaults to `1`.
            verbose: 0 is silent. Defaults to one line of progress.
        """
        if not _has_validation(fit_kwargs):
            raise ValueError(
                "A search scores members on validation data. Pass `validation_data` or "
                f"a positive `validation_split`. Received: {sorted(fit_kwargs)}"
            )
        for name in ("epochs", "initial_epoch"):
            if name in fit_kwargs:
                raise ValueError(
                    "The epochs of a search are `generations` times "
                    f"`epochs_per_generation`. Received: {name}={fit_kwargs[name]}"
                )
        check_integer("workers", workers, 1)
        callback_list(fit_kwargs.get("callbacks"))
        self._check_validation_freq(fit_kwargs.get("validation_freq", 1))
        if "KERASTUNER_ORACLE_IP" not in os.environ:
            # On a cluster, processes may be at work there.
            clear_temporary_files(self.project_dir)
        self.population.failure = None
        total = self.population.generations * self.population.population_size
        self.population.progress = Progress(total) if verbose else None
        if workers > 1:
            local_workers.search(self, workers, fit_args, fit_kwargs)
        else:
            with watch_workers(self.population):
                super().search(*fit_args, **fit_kwargs)
        if self.population.failure:
            raise RuntimeError(f"The search has failed.\n{self.population.failure}")

    def _check_validation_freq(self, frequency):
        epochs = self.epochs_per_generation
        ends = range(epochs, self.population.generations * epochs + 1, epochs)
        if isinstance(frequency, int):
            missing = [end for end in ends if end % frequency]
        else:
            missing = [end for end in ends if end not in frequency]
        if missing:
            raise ValueError(
                "Invalid value received for argument `validation_freq`. Expected one "
                "that validates the last epoch of every generation, for which members "
                f"are scored. Received: validation_freq={frequency}, which leaves out "
                f"epoch {missing[0]}"
            )

    def on_search_begin(self):
        self.save()

    def pre_create_trial(self):
        # Called in a loop while other workers finish a generation.
        if not self._waited:
            self._waited = True
            return
        time.sleep(0.05)

    def on_trial_begin(self, trial):
        self._waited = False

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        entry = Entry(trial)
        with signs_of_life(self.oracle, trial.trial_id):
            parent = self._parent(entry)
            record = self.checkpoints.load_record(parent.trial_id) if parent else {}
            if record.get("stopped"):
                with self._reporting(trial):
                    self.checkpoints.copy(parent.trial_id, trial.trial_id)
                return {**record["logs"], EPOCHS: 0}
            model, generation = self._train(trial, parent, record, fit_args, fit_kwargs)
            results = self._results(generation)
            with self._reporting(trial):
                self._save(trial, model, generation)
        return results

    def _train(self, trial, parent, record, fit_args, fit_kwargs):
        """Trains the member of a trial for one generation."""
        entry = Entry(trial)
        seed = _seed(entry.values[SEED], entry.generation, entry.member)
        originals = callback_list(fit_kwargs.get("callbacks"))
        model = self._model_for(trial, parent, record, seed)
        model.reseed(seed)
        start = entry.generation * self.epochs_per_generation
        generation = Generation(
            self._deepcopy_callbacks(originals),
            CallbackStates(originals),
            end=start + self.epochs_per_generation,
            begin_with=record.get("callbacks"),
        )
        history = self.hypermodel.fit(
            trial.hyperparameters,
            model,
            *fit_args,
            **{
                **fit_kwargs,
                "initial_epoch": start,
                # Callbacks may ask: it is one training, of which this is a part.
                "epochs": self.population.generations * self.epochs_per_generation,
                "callbacks": generation.callbacks,
                "verbose": 0,
            },
        )
        if generation.logs is None or not isinstance(history, keras.callbacks.History):
            raise keras_tuner.errors.FatalTypeError(
                "`HyperModel.fit` must pass its `callbacks` to `model.fit`, and return "
                "what that returns: a member is scored with the logs of its last "
                f"epoch. Received: {history!r}"
            )
        return model, generation

    def _results(self, generation):
        """What a trial reports."""
        results, name = generation.logs, self.population.objective.name
        if name not in results:
            raise keras_tuner.errors.FatalValueError(
                "A member is scored with the logs of its last epoch, and the "
                "objective is not in them. Expected an `objective` that is, and, where "
                "a callback stops a training, `validation_freq=1`. Received: "
                f"objective={name!r}, logs of {sorted(results)}"
            )
        if not np.isfinite(results[name]):
            raise keras_tuner.errors.FailedTrialError(
                f"The score is not a number. Received: {results}"
            )
        if generation.epochs != self.epochs_per_generation:
            results = {**results, EPOCHS: generation.epochs}
        return results

    @contextlib.contextmanager
    def _reporting(self, trial):
        """Locks checkpoints, until `on_trial_end`, for the one that reports a trial."""
        self.checkpoints.lock()
        try:
            if Entry(self.oracle.get_trial(trial.trial_id)).ended:
                raise keras_tuner.errors.FailedTrialError(
                    "This worker was taken for lost, and another one was faster."
                )
            yield
        except BaseException:
            self.checkpoints.unlock()
            raise

    def _save(self, trial, model, generation):
        generation.restore_state(model)
        swaps = generation.swaps_weights(model)
        if swaps:
            self.checkpoints.save_training(trial.trial_id, model)
            generation.restore_scored(model)
        self.checkpoints.save(trial.trial_id, model)
        record = {
            "callbacks": generation.callback_state,
            "logs": generation.logs,
            "stopped": generation.stopped,
            "swaps": swaps,
        }
        self.checkpoints.save_record(trial.trial_id, record)

    def on_trial_end(self, trial):
        # The chief deletes what is not needed any more: nobody must save meanwhile.
        self.checkpoints.lock()
        try:
            if trial.message:
                # A chief would not hear of it otherwise.
                path = pathlib.Path(self.get_trial_dir(trial.trial_id)) / ERROR
                path.write_text(trial.message, encoding="utf-8")
            super().on_trial_end(trial)
        except OSError as error:
            if not trial.message:
                raise
            # A full disk is what failed the member, too.
            raise OSError(
                error.errno,
                f"{error}. This followed on the failure of a member:\n{trial.message}",
            ) from error
        finally:
            self.checkpoints.unlock()

    @cached_property
    def checkpoints(self):
        return CheckpointFolder(self.project_dir)

    # Models ---------------------------------------------------------------

    def _model_for(self, trial, parent, record, seed):
        """The model of this process, as the trial's member starts."""
        hp, entry = trial.hyperparameters, Entry(trial)
        key = {
            name: value
            for name, value in entry.values.items()
            if not (name in BOOKKEEPING or self._is_assigned(name))
        }
        if self._model is None or key != self._model_key:
            self._model = None
            forget_models()
            self._model, self._model_key = self._build(hp), key
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
            load = self.checkpoints.load
            if record["swaps"]:
                load = self.checkpoints.load_training
            load(parent.trial_id, self._model)
            names = changed
        else:
            for variable, value in self._initial_state:
                variable.assign(value)
            # Not `keras.utils.set_random_seed`: with it, TensorFlow forgets what it
            # has prepared, which costs most of a second per trial.
            random.seed(seed)
            fresh = self._build(hp)
            self._model.set_weights(fresh.get_weights())
            for term, other in zip(self._model.terms, fresh.terms, strict=True):
                term.take_state(other)
        self._assign_values(self._model, entry.values, names)
        return self._model

    def _parent(self, entry):
        parent = entry.values[PARENT]
        return self.oracle.get_trial(parent) if parent else None

    def _is_assigned(self, name):
        return name.startswith(PREFIX) or name in self._assign

    def _build(self, hp):
        hp = hp.copy()
        for parameter in hp.space:
            # A part that is off when the model is compiled cannot be turned on later.
            if parameter.name in BOUNDS and parameter.name.endswith("_weight"):
                hp.values[parameter.name] = max(parameter.values)
        with temporary_files(self.project_dir):
            model = self.hypermodel.build(hp)
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
            model.latent_augmentation.policy = policy_from_values(values)
        for name, value in values.items():
            if name in names and name in self._assign:
                self._assign[name](model, value)

    def load_model(self, trial):
        model = self._build(trial.hyperparameters)
        values = trial.hyperparameters.values
        self._assign_values(model, values, set(values))
        self.checkpoints.load(trial.trial_id, model)
        return model

    # Results --------------------------------------------------------------

    def get_best_schedule(self):
        """The `PolicySchedule` along the lineage of the best member at the end."""
        best = self._final_best()
        segments: list = []
        for trial in self.population.lineage(best):
            values = Entry(trial).values
            policy = policy_from_values(values)
            if policy is None:
                raise ValueError(
                    "The build function declared no policy. Use "
                    "`keras_modals.tuners.policy_space(hp)`."
                )
            others = {n: float(v) for n, v in values.items() if n in BOUNDS}
            epochs = Entry(trial).epochs(self.epochs_per_generation)
            if epochs:
                segments.append((epochs, policy, others))
        return PolicySchedule.merged(segments)

    def _final_best(self):
        self._see_results()
        entries = [entry for entry in self.population.entries() if entry.completed]
        if not entries:
            raise ValueError(
                f"No member of the search in {self.project_dir} has completed a "
                "generation yet. Call `search` first."
            )
        last = max(entry.generation for entry in entries)
        return max(
            (entry for entry in entries if entry.generation == last),
            key=lambda entry: entry.score(self.population.objective),
        ).trial

    def results_summary(self, num_trials=None):
        """Prints the scores of every generation and the lineage of the best member.

        Args:
            num_trials: Optional integer, how many of the lineage's last trials, one per
                generation, to show. Defaults to all.
        """
        best = self._final_best()
        name = self.population.objective.name
        lineage = self.population.lineage(best)
        print(f"{name} per generation, and the lineage of the best member at the end")
        print("generation     best     mean    worst  failed  member    score  policy")
        for generation, trial in list(enumerate(lineage))[-(num_trials or 0) :]:
            entries = self.population.entries(generation)
            scores = sorted(
                (entry.trial.score for entry in entries if entry.completed),
                reverse=self.population.objective.direction == "max",
            )
            entry = Entry(trial)
            print(
                f"{generation + 1:10} {scores[0]:8.4f} {np.mean(scores):8.4f} "
                f"{scores[-1]:8.4f} {len(entries) - len(scores):7} "
                f"{entry.member + 1:7} {trial.score:8.4f}  {describe(entry.values)}"
            )

    def get_best_models(self, num_models=1):
        """The models of the best trials whose checkpoints are kept, best first."""
        self._see_results()
        best = self.population.get_best_trials(num_models)
        return [self.load_model(trial) for trial in best]

    def get_best_hyperparameters(self, num_trials=1):
        """The hyperparameters of the best trials whose checkpoints are kept."""
        self._see_results()
        best = self.population.get_best_trials(num_trials)
        return [trial.hyperparameters for trial in best]

    def _see_results(self):
        """Reads, in a worker, what its chief has written, which may have ended."""
        if self._is_worker():
            self.population.reload()

    def get_state(self):
        return {"version": VERSION}

    def set_state(self, state):
        pass

    def reload(self):
        read_json(self.project_dir, "tuner.json")
        if not self._is_worker():
            self.population.reload()

    def _populate_initial_space(self):
        if not self._is_worker():
            self.population.check_begun_anew()
        with temporary_files(self.project_dir):
            super()._populate_initial_space()

    def save(self):
        if self.oracle is not self.population:
            # A worker, which may be there before its chief.
            return
        # First: the tuner's file tells that there is an oracle's.
        self.population.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _get_tuner_fname(self):
        # One for all processes, so that any of them can go on with the search.
        return os.path.join(self.project_dir, "tuner.json")


def _seed(*numbers):
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def _has_validation(fit_kwargs):
    if fit_kwargs.get("validation_data") is not None:
        return True
    return bool(fit_kwargs.get("validation_split"))


def _assign(name, model, value):
    assign_value(model, name, value)
