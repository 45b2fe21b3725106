"""Trains a population of models, with Keras Tuner."""

import os
import time
from functools import cached_property, partial
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_modals._src.arguments import BOUNDS, check_integer
from keras_modals._src.members.callback_states import (
    CallbackError,
    CallbackStates,
    callback_list,
)
from keras_modals._src.members.generation import Generation
from keras_modals._src.models.assignment import assign_value
from keras_modals._src.policies.files import write_json
from keras_modals._src.population.explore import pba_explore
from keras_modals._src.population.results import Step, print_results, schedule_of
from keras_modals._src.population.start import check_fit_arguments
from keras_modals._src.tuners import local_workers
from keras_modals._src.tuners.arguments import TUNER_UNUSED, check_unused
from keras_modals._src.tuners.checkpoints import CheckpointFolder
from keras_modals._src.tuners.entry import EPOCHS, ERROR, Entry
from keras_modals._src.tuners.folder import (
    clear_temporary_files,
    read_json,
    temporary_files,
    trial_folder,
)
from keras_modals._src.tuners.member_models import MemberModels
from keras_modals._src.tuners.population_oracle import PopulationBasedOracle
from keras_modals._src.tuners.progress import Progress
from keras_modals._src.tuners.stored_oracle import VERSION


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
    numbers, strings, arrays, or lists, tuples, dicts and sets of them, open files and
    parts of the model aside; a class leaves others out in its `__getstate__`. Where a
    callback stops the training of a member, it has ended: in later generations the
    member stays as it is, and so does one that copies it.

    Args:
        hypermodel: A build function of `hp`, or `keras_tuner.HyperModel`.
        objective, population_size, generations: As in `PopulationBasedOracle`.
        epochs_per_generation: Positive integer. Defaults to `3`, the paper's.
        smoothing, quantile, explore, explored, initial, seed: As in
            `PopulationBasedOracle`.
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
    model, schedule = tuner.best_model(), tuner.best_schedule()
    ```
    """

    oracle: Any
    # Set in the processes that `search(..., workers=n)` starts.
    _is_local_worker = False

    def __init__(
        self,
        hypermodel,
        objective="val_loss",
        population_size=8,
        generations=20,
        epochs_per_generation=3,
        smoothing=0.5,
        quantile=0.25,
        explore=pba_explore,
        explored=None,
        initial="policy",
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
        if kwargs.get("executions_per_trial") == 1:
            # As a member does.
            del kwargs["executions_per_trial"]
        check_unused(TUNER_UNUSED, kwargs)
        check_integer("epochs_per_generation", epochs_per_generation, 1)
        self.epochs_per_generation = epochs_per_generation
        assignable = {name: partial(assign_value, name) for name in BOUNDS}
        self._assign = {**assignable, **(assign or {})}
        self._waited = True
        oracle = PopulationBasedOracle(
            objective=objective,
            population_size=population_size,
            generations=generations,
            smoothing=smoothing,
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
        if self._is_worker():
            # That is the chief's to do.
            kwargs["overwrite"] = False
        super().__init__(oracle, hypermodel, **kwargs)

    # Search ---------------------------------------------------------------

    def search(self, *fit_args, workers=1, verbose="auto", **fit_kwargs):
        """Searches, or goes on with a search that was interrupted.

        Args:
            *fit_args, **fit_kwargs: What `fit` takes; `validation_data` or
                `validation_split` is needed, `epochs` is not.
            workers: Integer, how many processes of this machine train at the same
                time, each on one GPU where there are several. With more than 1, the
                build function and the data are sent to them: the data must be arrays,
                or else picklable. Defaults to `1`.
            verbose: 0 is silent. Defaults to one line of progress.
        """
        check_fit_arguments(
            fit_kwargs, self.population.generations, self.epochs_per_generation
        )
        check_integer("workers", workers, 1)
        callback_list(fit_kwargs.get("callbacks"))
        if "KERASTUNER_ORACLE_IP" not in os.environ:
            # On a cluster, processes may be at work there.
            clear_temporary_files(self.project_dir)
        self.population.failure = None
        self.population.losses.clear()
        total = self.population.generations * self.population.population_size
        self.population.progress = Progress(total) if verbose else None
        if workers > 1:
            local_workers.search(self, workers, fit_args, fit_kwargs)
        else:
            super().search(*fit_args, **fit_kwargs)
        if self.population.failure:
            raise RuntimeError(f"The search has failed.\n{self.population.failure}")

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
        parent: Any = self.oracle.get_trial(entry.parent) if entry.parent else None
        record = self.checkpoints.of(entry.parent).load_record() if parent else {}
        if record.get("stopped"):
            self.checkpoints.copy(parent.trial_id, trial.trial_id)
            return {**record["logs"], EPOCHS: 0}
        model, generation = self._train(trial, parent, record, fit_args, fit_kwargs)
        results = _results(generation, self.population.objective.name)
        generation.save(self.checkpoints.of(trial.trial_id), model)
        if generation.epochs != self.epochs_per_generation:
            results = {**results, EPOCHS: generation.epochs}
        return results

    def _train(self, trial, parent, record, fit_args, fit_kwargs):
        """Trains the member of a trial for one generation."""
        entry = Entry(trial)
        originals = callback_list(fit_kwargs.get("callbacks"))
        model = self.models.begin(trial, parent, record)
        model.reseed(entry.seed)
        start = entry.generation * self.epochs_per_generation
        generation = Generation(
            self._deepcopy_callbacks(originals),
            CallbackStates(originals),
            end=start + self.epochs_per_generation,
            begin_with=record.get("callbacks"),
        )
        try:
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
        except CallbackError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        if generation.logs is None or not isinstance(history, keras.callbacks.History):
            raise keras_tuner.errors.FatalTypeError(
                "`HyperModel.fit` must pass its `callbacks` to `model.fit`, and return "
                "what that returns: a member is scored with the logs of its last "
                f"epoch. Received: {history!r}"
            )
        return model, generation

    def on_trial_end(self, trial):
        try:
            if trial.message:
                # A chief would not hear of it otherwise.
                path = trial_folder(self.project_dir, trial.trial_id) / ERROR
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

    @cached_property
    def checkpoints(self):
        return CheckpointFolder(self.project_dir)

    @cached_property
    def models(self):
        return MemberModels(
            self.hypermodel, self._assign, self.checkpoints, self.project_dir
        )

    def load_model(self, trial):
        return self.models.load(trial)

    # Results --------------------------------------------------------------

    def best_model(self):
        """The best member at the end, as a compiled `ModalsModel`."""
        return self.load_model(self._final_best())

    def best_schedule(self):
        """The `PolicySchedule` along the lineage of the best member at the end."""
        steps = self._steps()
        if steps[0].policy is None:
            raise ValueError(
                "The build function declared no policy. Use "
                "`keras_modals.tuners.policy_space(hp)`."
            )
        return schedule_of(steps)

    def results_summary(self, num_trials=None):
        """Prints, for each generation, the members' scores and what the best member at
        the end, or its forebear, was trained with.

        Args:
            num_trials: Optional integer, how many of the lineage's last trials, one per
                generation, to show. Defaults to all.
        """
        objective = self.population.objective
        print_results(objective.name, objective.direction, self._steps(), num_trials)

    def _steps(self):
        """One for each generation."""
        oracle, steps = self.population, []
        for trial in oracle.lineage(self._final_best()):
            entry = Entry(trial)
            ended = [e for e in oracle.entries(entry.generation) if e.ended]
            steps.append(
                Step(
                    entry.epochs(self.epochs_per_generation),
                    entry.policy,
                    entry.others,
                    oracle.smoothed(entry),
                    np.array([oracle.smoothed(each) for each in ended]),
                )
            )
        return steps

    def _final_best(self):
        self._see_results()
        best = self.population.best_at_the_end()
        if best is None:
            raise ValueError(
                f"No member of the search in {self.project_dir} has completed a "
                "generation yet. Call `search` first."
            )
        return best.trial

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
            if not os.path.exists(self._get_tuner_fname()):
                raise ValueError(
                    "This worker does not see what its chief has written. Pass a "
                    "`directory` that all processes share. Received: "
                    f"directory={self.directory!r}"
                )
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

    def _is_worker(self):
        return self._is_local_worker or super()._is_worker()

    def save(self):
        if self._is_worker():
            # It may be there before its chief.
            return
        # First: the tuner's file tells that there is an oracle's.
        self.population.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _get_tuner_fname(self):
        # One for all processes, so that any of them can go on with the search.
        return os.path.join(self.project_dir, "tuner.json")


def _results(generation, objective):
    """The logs that a member is scored by, which have the objective."""
    logs = generation.logs or {}
    if objective not in logs:
        raise keras_tuner.errors.FatalValueError(
            "A member is scored with the logs of its last epoch, and the objective is "
            "not in them. Expected an `objective` that is, and, where a callback stops "
            "a training, `validation_freq=1`. Received: "
            f"objective={objective!r}, logs of {sorted(logs)}"
        )
    if not np.isfinite(logs[objective]):
        raise keras_tuner.errors.FailedTrialError(
            f"The score is not a number. Received: {logs}"
        )
    return logs
