"""Population-based training of whole models with Keras Tuner."""

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

    The build function declares the search space, including the policy with
    `keras_modals.tuners.policy_space`, and returns a compiled `ModalsModel`. The model
    is built and compiled once per process; for each member, its weights are loaded and
    its values assigned. A new model is built only if hyperparameters differ that cannot
    be assigned.

    From the second generation on, a member starts with its parent's weights, optimizer
    states, class memory, epoch and callback states. Initial weights and random draws of
    layers depend on the seed and the member. The order of batches is not seeded: for an
    exactly repeatable search, pass `shuffle=False`.

    The training of a member is one training, cut into generations. A member is scored
    by the last epoch of each generation. Its checkpoint, which `get_best_models` loads,
    has the weights that were validated then. The end of a generation does not trigger
    what Keras does at the end of `fit`: an optimizer with `use_ema` continues without
    the averages, and `EarlyStopping(restore_best_weights=True)` restores nothing. To
    score the averages, add `keras.callbacks.SwapEMAWeights()`.

    Every generation calls `on_train_begin` and `on_train_end` of a copy of each
    callback. After `on_train_begin`, the copy gets its parent's attributes, so patience
    and counters of custom callbacks continue. Attributes that change must be numbers,
    strings, arrays, or lists, tuples, dicts and sets of these, except for open files
    and parts of the model. To leave out others, define `__getstate__` in the class. If
    a callback stops the training of a member, the member stays as it is in later
    generations, and so do its copies.

    Args:
        hypermodel: Build function of `hp`, or `keras_tuner.HyperModel`.
        objective, population_size, generations: As in `PopulationBasedOracle`.
        epochs_per_generation: Positive integer. Defaults to `3`, as in the paper.
        smoothing, quantile, explore, explored, initial, seed: As in
            `PopulationBasedOracle`.
        assign: Optional dict from names of further hyperparameters to
            `fn(model, value)` that assigns the value to a compiled model. They are
            explored, too.
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
        # A worker creates its tuner from these.
        self.arguments = arguments
        if hypermodel is None:
            raise ValueError(
                "Invalid value received for argument `hypermodel`. Expected a build "
                "function or a `keras_tuner.HyperModel`. Received: hypermodel=None"
            )
        if kwargs.get("executions_per_trial") == 1:
            # 1 is what a member does anyway.
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
            # Only the chief overwrites.
            kwargs["overwrite"] = False
        super().__init__(oracle, hypermodel, **kwargs)

    # Search ---------------------------------------------------------------

    def search(self, *fit_args, workers=1, verbose="auto", **fit_kwargs):
        """Searches, or resumes an interrupted search.

        Args:
            *fit_args, **fit_kwargs: Arguments of `fit`. `validation_data` or
                `validation_split` is required; `epochs` is not.
            workers: Integer, the number of processes on this machine that train in
                parallel, each on one GPU if there are several. If it is more than 1,
                the build function and the data are sent to the processes, so the data
                must be arrays or picklable. Defaults to `1`.
            verbose: 0 is silent. Defaults to `"auto"`, one line of progress.
        """
        check_fit_arguments(
            fit_kwargs, self.population.generations, self.epochs_per_generation
        )
        check_integer("workers", workers, 1)
        callback_list(fit_kwargs.get("callbacks"))
        if "KERASTUNER_ORACLE_IP" not in os.environ:
            # On a cluster, other processes may be using these files.
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
                    # For callbacks: the length of the whole training.
                    "epochs": self.population.generations * self.epochs_per_generation,
                    "callbacks": generation.callbacks,
                    "verbose": 0,
                },
            )
        except CallbackError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        if generation.logs is None or not isinstance(history, keras.callbacks.History):
            raise keras_tuner.errors.FatalTypeError(
                "`HyperModel.fit` must pass its `callbacks` to `model.fit` and return "
                "its result, since a member is scored by the logs of its last epoch. "
                f"Received: {history!r}"
            )
        return model, generation

    def on_trial_end(self, trial):
        try:
            if trial.message:
                # The chief learns the reason from this file only.
                path = trial_folder(self.project_dir, trial.trial_id) / ERROR
                path.write_text(trial.message, encoding="utf-8")
            super().on_trial_end(trial)
        except OSError as error:
            if not trial.message:
                raise
            # A full disk may have made the member fail, too.
            raise OSError(
                error.errno,
                f"{error}. This followed the failure of a member:\n{trial.message}",
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
        """Returns the best member at the end, as a compiled `ModalsModel`."""
        return self.load_model(self._final_best())

    def best_schedule(self):
        """Returns the `PolicySchedule` of the best member at the end and its
        ancestors."""
        steps = self._steps()
        if steps[0].policy is None:
            raise ValueError(
                "The build function declared no policy. Use "
                "`keras_modals.tuners.policy_space(hp)`."
            )
        return schedule_of(steps)

    def results_summary(self, num_trials=None):
        """Prints a line for each generation.

        It has the members' scores, and the values of the best member at the end or of
        its ancestor in this generation.

        Args:
            num_trials: Optional integer, the number of last generations to show.
                Defaults to all.
        """
        objective = self.population.objective
        print_results(objective.name, objective.direction, self._steps(), num_trials)

    def _steps(self):
        """The `Step` of each generation."""
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
        """Returns the models of the best trials with a checkpoint, best first."""
        self._see_results()
        best = self.population.get_best_trials(num_models)
        return [self.load_model(trial) for trial in best]

    def get_best_hyperparameters(self, num_trials=1):
        """Returns the hyperparameters of the best trials with a checkpoint."""
        self._see_results()
        best = self.population.get_best_trials(num_trials)
        return [trial.hyperparameters for trial in best]

    def _see_results(self):
        """Reads the chief's results in a worker. The chief may have ended."""
        if self._is_worker():
            if not os.path.exists(self._get_tuner_fname()):
                raise ValueError(
                    "This worker cannot find the files of its chief. Pass a "
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
            # The worker may start before its chief.
            return
        # The oracle's file comes first: the tuner's file implies that it exists.
        self.population.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _get_tuner_fname(self):
        # One file for all processes, so that any of them can resume the search.
        return os.path.join(self.project_dir, "tuner.json")


def _results(generation, objective):
    """Returns the logs that score a member, and checks the objective in them."""
    logs = generation.logs or {}
    if objective not in logs:
        raise keras_tuner.errors.FatalValueError(
            "A member is scored by the logs of its last epoch, which do not contain "
            "the objective. Expected the name of a log as `objective` and, if a "
            "callback stops a training, `validation_freq=1`. Received: "
            f"objective={objective!r}, logs of {sorted(logs)}"
        )
    if not np.isfinite(logs[objective]):
        raise keras_tuner.errors.FailedTrialError(
            f"The score is not finite. Received: {logs}"
        )
    return logs
