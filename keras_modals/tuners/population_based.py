"""Population-based training for Keras Tuner: oracle and tuner."""

import collections
import contextlib
import os
import pathlib
import random
import time
import traceback
from functools import cached_property
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals.arguments import check_integer
from keras_modals.models.modals_model import ModalsModel
from keras_modals.policies.assignment import ASSIGNABLE
from keras_modals.policies.files import write_json
from keras_modals.policies.policy_schedule import PolicySchedule
from keras_modals.search.exploit import exploit
from keras_modals.search.explore import pba_explore, random_value
from keras_modals.tuners import local_workers
from keras_modals.tuners.checkpoints import CheckpointFolder
from keras_modals.tuners.cluster import PatientClient, signs_of_life, watch_workers
from keras_modals.tuners.policy_space import PREFIX, policy_from_values
from keras_modals.tuners.progress import Progress

VERSION = 1

#: What a worker needs to know of a trial travels among its values.
MEMBER, GENERATION, PARENT = "tuner/member", "tuner/generation", "tuner/parent"
SEED = "tuner/seed"
BOOKKEEPING = (MEMBER, GENERATION, PARENT, SEED)

#: The file of what went wrong in a trial, in the trial's folder.
ERROR = "error.txt"

#: Seconds without a sign of life after which a worker's member is done again.
LEASE = 60.0

#: A member with which so many workers were lost counts as failed.
MAX_LOSSES = 3


class PopulationBasedOracle(keras_tuner.Oracle):
    """Decides what the members of a population train with, generation by generation.

    In every generation each member trains for some epochs. Then the worst part of the
    population, and every member whose training failed, go on from the checkpoint of a
    random member of the best part (exploit) with perturbed values (explore). What
    members do next depends on the seed and on the scores of their generation only, not
    on the order or place in which they ran: a search that was interrupted goes on as it
    would have.

    A trial is one member in one generation. Its values hold which: `"tuner/member"`,
    `"tuner/generation"` and `"tuner/parent"`, the trial whose checkpoint it starts
    from, empty in the first generation.

    Args:
        objective: Name of the validation metric to optimize, or a
            `keras_tuner.Objective`. Defaults to `"val_accuracy"`.
        population_size: Integer of at least 2. Defaults to `16`, the paper's.
        generations: Positive integer. Defaults to `20`.
        quantile: Float in `(0, 0.5]`, the worst and the best part. Defaults to `0.25`.
        explore: `fn(hyperparameter, value, rng)` that returns a new value. Defaults to
            `keras_modals.tuners.pba_explore`.
        explored: Names of hyperparameters to perturb, besides the policy's. Others stay
            with a member, and with those that copy it: a checkpoint fits only a model
            like its own. Defaults to what can be assigned to a model that is
            compiled: triplet and prior weight, dropout of latents, learning rate.
        initial: `"default"`, where all members start at the hyperparameters' defaults
            (a policy of zeros, as in the paper), or `"random"`.
        seed: Optional integer.
        **kwargs: Arguments of `keras_tuner.Oracle`.

    Reference:

    - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)
    """

    def __init__(
        self,
        objective="val_accuracy",
        population_size=16,
        generations=20,
        quantile=0.25,
        explore=pba_explore,
        explored=tuple(ASSIGNABLE),
        initial="default",
        seed=None,
        **kwargs,
    ):
        super().__init__(
            objective=objective,
            seed=seed,
            # Failures are our business: see `populate_space`.
            max_retries_per_trial=0,
            max_consecutive_failed_trials=None,
            **kwargs,
        )
        if seed is not None:
            # Keras Tuner takes 0 for none.
            self.seed = self._seed_state = seed
        check_integer("population_size", population_size, 2)
        check_integer("generations", generations, 1)
        if not 0 < quantile <= 0.5:
            raise ValueError(
                "Invalid value received for argument `quantile`. Expected a float in "
                f"(0, 0.5]. Received: quantile={quantile}"
            )
        if initial not in ("default", "random"):
            raise ValueError(
                'Invalid value received for argument `initial`. Expected "default" or '
                f'"random". Received: initial={initial!r}'
            )
        if not getattr(self.objective, "name", "").startswith("val_"):
            raise ValueError(
                "A search needs a score on validation data: an objective whose name "
                f"begins with 'val_'. Received: objective={objective!r}"
            )
        self.population_size = population_size
        self.generations = generations
        self.quantile = quantile
        self.explore = explore
        self.explored = tuple(explored)
        self.initial = initial
        self.progress = None
        self.lease = LEASE
        self.failure = None
        self._plans: dict[int, list] = {}
        self._last_seen: dict[str, float] = {}
        self._losses: collections.Counter = collections.Counter()
        self._ran_on: dict = {}
        # Progress is ours as well.
        self._display.verbose = 0

    @property
    def verbose(self):
        return 0

    @verbose.setter
    def verbose(self, value):
        pass

    # What to run next ----------------------------------------------------

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        self._last_seen[tuner_id] = time.monotonic()
        self.release_silent()
        with self._failures_end_the_search():
            return super().create_trial(tuner_id)
        self.tuner_ids.discard(tuner_id)
        return Trial(self.get_space(), status=TrialStatus.STOPPED)

    @contextlib.contextmanager
    def _failures_end_the_search(self):
        """Keeps an exception, of a user's `explore` for one, as the failure.

        Raised by a synchronized method it would leave the lock of Keras Tuner closed,
        and other workers waiting.
        """
        try:
            yield
        except Exception:
            self.failure = traceback.format_exc()

    def populate_space(self, trial_id):
        self._check_generation()
        if self.failure:
            return {"status": TrialStatus.STOPPED}
        generation = max((t.generation for t in self._entries()), default=0)
        entries = self._of_generation(generation)
        if len(entries) == self.population_size:
            if not all(entry.ended for entry in entries):
                return {"status": TrialStatus.IDLE}
            if not self._can_go_on(entries):
                return {"status": TrialStatus.STOPPED}
            generation, entries = generation + 1, []
        member = min(
            set(range(self.population_size)) - {entry.member for entry in entries}
        )
        values = self._plan(generation)[member]
        return {"status": TrialStatus.RUNNING, "values": dict(values)}

    def _plan(self, generation):
        """The values of every member of a generation."""
        if generation not in self._plans:
            rng = np.random.default_rng((self.seed, generation))
            values = (
                self._first_values(rng)
                if generation == 0
                else self._next_values(self._of_generation(generation - 1), rng)
            )
            for member, entry in enumerate(values):
                entry.update({MEMBER: member, GENERATION: generation, SEED: self.seed})
            self._plans[generation] = values
        return self._plans[generation]

    def _first_values(self, rng):
        population = []
        for _ in range(self.population_size):
            space = keras_tuner.HyperParameters()
            for hp in self.hyperparameters.space:
                space.merge([hp])
                if space.is_active(hp):
                    space.values[hp.name] = (
                        random_value(hp, rng)
                        if self.initial == "random"
                        else hp.default
                    )
            population.append({**space.values, PARENT: ""})
        return population

    def _next_values(self, entries, rng):
        """Exploit and explore."""
        entries = sorted(entries, key=lambda entry: entry.member)
        scores = [entry.score(self.objective) for entry in entries]
        parents = [entries[i] for i in exploit(scores, self.quantile, rng)]
        return [
            {
                **(
                    entry.values
                    if entry == parent
                    else self._explored(parent.values, rng)
                ),
                PARENT: parent.trial_id,
            }
            for entry, parent in zip(entries, parents, strict=True)
        ]

    def _explored(self, values, rng):
        values = dict(values)
        for hp in self.hyperparameters.space:
            fixed = isinstance(hp, keras_tuner.engine.hyperparameters.Fixed)
            searched = hp.name.startswith(PREFIX) or hp.name in self.explored
            if hp.name in values and searched and not fixed:
                values[hp.name] = self.explore(hp, values[hp.name], rng)
        return values

    # What has run ---------------------------------------------------------

    def score_trial(self, trial):
        history = trial.metrics.get_history(self.objective.name)
        trial.score = float(history[-1].value[-1])
        trial.best_step = 0

    def _entries(self):
        return [Entry(trial) for trial in self.trials.values()]

    def _of_generation(self, generation):
        return [e for e in self._entries() if e.generation == generation]

    @keras_tuner.synchronized
    def end_trial(self, trial):
        if trial.trial_id in self.end_order:
            # Of a worker that was taken for lost; another one has done its work.
            return
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        error = pathlib.Path(self._get_trial_dir(trial.trial_id)) / ERROR
        failed = trial.status != TrialStatus.COMPLETED
        if failed and trial.message is None and error.exists():
            trial.message = error.read_text(encoding="utf-8")
        super().end_trial(trial)
        self._after_trial(self.trials[trial.trial_id])

    def _after_trial(self, trial):
        with self._failures_end_the_search():
            self._check_generation()
            CheckpointFolder(self._project_dir).keep_only(self._needed())
            self._show_progress(Entry(trial))

    def _check_generation(self):
        """Notes the failure of the search, if every member of a generation failed."""
        generation = max((e.generation for e in self._entries()), default=0)
        entries = self._of_generation(generation)
        failed = [e.ended and not e.completed for e in entries]
        if len(entries) == self.population_size and all(failed):
            self.failure = (
                "All members of a generation failed, the last one with:\n"
                f"{entries[-1].trial.message}"
            )

    @keras_tuner.synchronized
    def get_trial(self, trial_id):
        # Workers ask for their trial as a sign of life.
        for tuner_id, trial in self.ongoing_trials.items():
            if trial.trial_id == trial_id:
                self._last_seen[tuner_id] = time.monotonic()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def release(self, tuner_id):
        """Has a lost worker's member, if any, done again.

        Returns:
            Whether the worker had ever asked for work.
        """
        return self._release(tuner_id)

    @keras_tuner.synchronized
    def release_silent(self):
        """Releases all workers that have given no sign of life for a while."""
        now = time.monotonic()
        for tuner_id in list(self.tuner_ids):
            if now - self._last_seen.get(tuner_id, -np.inf) > self.lease:
                self._release(tuner_id)

    def _release(self, tuner_id):
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is not None:
            # What it may have reported is not of those who do it again.
            trial.metrics = type(trial.metrics)()
            self._losses[trial.trial_id] += 1
            if self._losses[trial.trial_id] < MAX_LOSSES:
                self._retry_queue.append(trial.trial_id)
            else:
                trial.status = TrialStatus.FAILED
                trial.message = f"{MAX_LOSSES} workers were lost while they ran it"
                self.end_order.append(trial.trial_id)
                self._save_trial(trial)
                self._after_trial(trial)
        known = tuner_id in self.tuner_ids
        self.tuner_ids.discard(tuner_id)
        return known

    def get_best_trials(self, num_trials=1):
        """The best trials of which there is a checkpoint, best first.

        These are the last generation's and the best of all.
        """
        if not self.trials:
            return []
        needed = self._needed()
        kept = [e for e in self._entries() if e.completed and e.trial_id in needed]
        ranked = sorted(kept, key=lambda e: e.score(self.objective), reverse=True)
        return [entry.trial for entry in ranked[:num_trials]]

    @property
    @keras_tuner.synchronized
    def is_finished(self):
        """Whether every member of the last generation has ended, or all failed."""
        entries = self._of_generation(self.generations - 1)
        complete = len(entries) == self.population_size
        ended = complete and all(entry.ended for entry in entries)
        return ended or self.failure is not None

    def lineage(self, trial):
        """The trials that led to a trial, first generation first."""
        trials = [trial]
        while Entry(trials[0]).values[PARENT]:
            trials.insert(0, self.trials[Entry(trials[0]).values[PARENT]])
        return trials

    def _best(self):
        completed = [entry for entry in self._entries() if entry.completed]
        return max(completed, key=lambda e: e.score(self.objective), default=None)

    # State ----------------------------------------------------------------

    def _needed(self):
        """Ids of the trials that may still be started from, or asked for."""
        entries = self._entries()
        last = max(entry.generation for entry in entries)
        current = self._of_generation(last)
        best = self._best()
        needed = set() if best is None else {best.trial.trial_id}
        if self._can_go_on(current):
            # The next generation starts from some of this one only.
            return needed | {values[PARENT] for values in self._plan(last + 1)}
        ended = {entry.member: entry.trial_id for entry in current if entry.ended}
        needed.update(ended.values())
        for member, values in enumerate(self._plan(last)):
            if member not in ended:
                needed.add(values[PARENT])
        return needed

    def _can_go_on(self, entries):
        """Whether there is a generation after that of `entries`, which has ended."""
        return (
            len(entries) == self.population_size
            and all(entry.ended for entry in entries)
            and any(entry.completed for entry in entries)
            and entries[0].generation + 1 < self.generations
        )

    def _show_progress(self, entry):
        if self.progress is None:
            return
        entries = self._of_generation(entry.generation)
        best = self._best()
        self.progress.show(
            done=sum(e.ended for e in self._entries()),
            generation=entry.generation + 1,
            generations=self.generations,
            member=sum(e.ended for e in entries),
            population=self.population_size,
            best="no member completed"
            if best is None
            else f"best {self.objective.name} {best.trial.score:.4f} with "
            f"{_describe(best.values)}",
        )

    def get_state(self):
        return {**super().get_state(), "version": VERSION}

    def set_state(self, state):
        if state.get("version") != VERSION:
            raise ValueError(
                f"The search in {self._project_dir} was saved in another version of "
                "the format. Expected version "
                f"{VERSION}. Received: version={state.get('version')!r}"
            )
        super().set_state(state)
        self._ran_on = dict(self.ongoing_trials)

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_json(path, trial.get_state())

    def reload(self):
        super().reload()
        # A trial's own file is written before the oracle's: it is what counts.
        self.end_order = [e.trial_id for e in self._entries() if e.ended]
        unfinished = {e.trial_id for e in self._entries() if not e.ended}
        if "chief" in os.environ.get("KERASTUNER_TUNER_ID", ""):
            # Their workers may be waiting for the chief to come back.
            for tuner_id, trial in self._ran_on.items():
                if trial.trial_id in unfinished:
                    self.ongoing_trials[tuner_id] = trial
                    self.tuner_ids.add(tuner_id)
                    self._last_seen[tuner_id] = time.monotonic()
                    unfinished.remove(trial.trial_id)
        for trial_id in unfinished:
            self.trials[trial_id].metrics = type(self.trials[trial_id].metrics)()
        self._retry_queue = sorted(unfinished, reverse=True)


class Entry:
    """A trial as what it is to a population: a member in a generation."""

    def __init__(self, trial):
        self.trial = trial
        self.trial_id = trial.trial_id
        self.values = trial.hyperparameters.values
        self.member = self.values[MEMBER]
        self.generation = self.values[GENERATION]
        self.completed = trial.status == TrialStatus.COMPLETED
        self.ended = self.completed or trial.status == TrialStatus.FAILED

    def __eq__(self, other):
        return self.trial_id == other.trial_id

    __hash__ = None  # type: ignore[assignment]

    def score(self, objective):
        """Larger is better; that of a failed trial is the smallest."""
        if not self.completed:
            return -np.inf
        return self.trial.score if objective.direction == "max" else -self.trial.score


class PopulationBasedTuner(keras_tuner.Tuner):
    """Searches a schedule of policies with one population of models.

    The build function declares what is searched, the policy with
    `keras_modals.tuners.policy_space`, and returns a compiled `ModalsModel`. A model is
    built and compiled once per process: from then on members' weights are loaded and
    their values assigned. Hyperparameters that cannot be assigned need a new model
    whenever they differ.

    Beginning with the second generation a member goes on from its parent's weights,
    both optimizers' state, class memory and epoch. Initial weights and what layers draw
    follow from the seed and the member; the order of batches is not seeded: for a
    search that can be repeated exactly, pass `shuffle=False`.

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
        **kwargs: `directory`, `project_name`, `overwrite` and so on, as in
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
        check_integer("epochs_per_generation", epochs_per_generation, 1)
        self.epochs_per_generation = epochs_per_generation
        self._assign = {**ASSIGNABLE, **(assign or {})}
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
            seed = _seed(entry.values[SEED], entry.generation, entry.member)
            model = self._model_for(trial, seed)
            model.reseed(seed)
            start = entry.generation * self.epochs_per_generation
            history = self.hypermodel.fit(
                trial.hyperparameters,
                model,
                *fit_args,
                **{
                    **fit_kwargs,
                    "initial_epoch": start,
                    "epochs": start + self.epochs_per_generation,
                    "callbacks": self._deepcopy_callbacks(
                        fit_kwargs.get("callbacks") or []
                    ),
                    "verbose": 0,
                },
            )
            results = {name: values[-1] for name, values in history.history.items()}
            score = results.get(self.population.objective.name)
            if score is not None and not np.isfinite(score):
                raise keras_tuner.errors.FailedTrialError(
                    f"The score is not a number. Received: {results}"
                )
            self.checkpoints.lock()
            if Entry(self.oracle.get_trial(trial.trial_id)).ended:
                raise keras_tuner.errors.FailedTrialError(
                    "This worker was taken for lost, and another one was faster."
                )
            self.checkpoints.save(trial.trial_id, model)
        return results

    def on_trial_end(self, trial):
        if trial.message:
            # A chief would not hear of it otherwise.
            path = pathlib.Path(self.get_trial_dir(trial.trial_id)) / ERROR
            path.write_text(trial.message, encoding="utf-8")
        # The chief deletes what is not needed any more: nobody must save meanwhile.
        self.checkpoints.lock()
        try:
            super().on_trial_end(trial)
        finally:
            self.checkpoints.unlock()

    @cached_property
    def checkpoints(self):
        return CheckpointFolder(self.project_dir)

    # Models ---------------------------------------------------------------

    def _model_for(self, trial, seed):
        """The model of this process, as the trial's member starts."""
        hp, entry = trial.hyperparameters, Entry(trial)
        key = {
            name: value
            for name, value in entry.values.items()
            if not (name in BOOKKEEPING or self._is_assigned(name))
        }
        if self._model is None or key != self._model_key:
            self._model = None
            keras.backend.clear_session()
            self._model, self._model_key = self._build(hp), key
            self._initial_state = [
                (variable, keras.ops.convert_to_numpy(variable))
                for variable in _optimizer_variables(self._model)
            ]
        if entry.values[PARENT]:
            self.checkpoints.load(entry.values[PARENT], self._model)
        else:
            for variable, value in self._initial_state:
                variable.assign(value)
            # Not `keras.utils.set_random_seed`: with it, TensorFlow forgets what it
            # has prepared, which costs most of a second per trial.
            random.seed(seed)
            self._model.set_weights(self._build(hp).get_weights())
        self._assign_values(self._model, entry.values)
        return self._model

    def _is_assigned(self, name):
        return name.startswith(PREFIX) or name in self._assign

    def _build(self, hp):
        hp = hp.copy()
        for parameter in hp.space:
            # A part that is off when the model is compiled cannot be turned on later.
            if parameter.name in ("triplet_weight", "prior_weight"):
                hp.values[parameter.name] = max(parameter.values)
        model = self.hypermodel.build(hp)
        if not isinstance(model, ModalsModel) or not model.compiled:
            raise keras_tuner.errors.FatalTypeError(
                "The build function must return a compiled `keras_modals.ModalsModel`. "
                f"Received: {model}"
            )
        model.optimizer.build(model.trainable_variables)
        return model

    def _assign_values(self, model, values):
        policy = policy_from_values(values)
        if policy is not None:
            model.latent_augmentation.policy = policy
        for name, value in values.items():
            if name in self._assign:
                self._assign[name](model, value)

    def load_model(self, trial):
        model = self._build(trial.hyperparameters)
        self.checkpoints.load(trial.trial_id, model)
        self._assign_values(model, Entry(trial).values)
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
            others = {n: float(v) for n, v in values.items() if n in ASSIGNABLE}
            segments.append((self.epochs_per_generation, policy, others))
        return PolicySchedule.merged(segments)

    def _final_best(self):
        entries = [entry for entry in self.population._entries() if entry.completed]
        if not entries:
            raise ValueError("No member has completed a generation yet.")
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
            entries = self.population._of_generation(generation)
            scores = sorted(
                (entry.trial.score for entry in entries if entry.completed),
                reverse=self.population.objective.direction == "max",
            )
            entry = Entry(trial)
            print(
                f"{generation + 1:10} {scores[0]:8.4f} {np.mean(scores):8.4f} "
                f"{scores[-1]:8.4f} {len(entries) - len(scores):7} "
                f"{entry.member + 1:7} {trial.score:8.4f}  {_describe(entry.values)}"
            )

    def get_state(self):
        return {"version": VERSION}

    def set_state(self, state):
        pass

    def save(self):
        if self.oracle is self.population:
            # First: the tuner's file tells that there is an oracle's.
            self.population.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _get_tuner_fname(self):
        # One for all processes, so that any of them can go on with the search.
        return os.path.join(self.project_dir, "tuner.json")


def _optimizer_variables(model):
    optimizers = (model.optimizer, model.discriminator_optimizer)
    return [v for o in optimizers if o is not None for v in o.variables]


def _describe(values):
    policy = policy_from_values(values)
    parts = [f"{n} {v:.3g}" for n, v in values.items() if n in ASSIGNABLE]
    return ", ".join(([str(policy)] if policy else []) + parts)


def _seed(*numbers):
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def _has_validation(fit_kwargs):
    if fit_kwargs.get("validation_data") is not None:
        return True
    return bool(fit_kwargs.get("validation_split"))
