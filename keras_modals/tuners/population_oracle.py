"""Which values the members of a population train with, for Keras Tuner."""

import collections
import contextlib
import os
import pathlib
import time
import traceback

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals.arguments import BOUNDS, check_integer
from keras_modals.policies.files import write_json
from keras_modals.search.exploit import exploit
from keras_modals.search.explore import pba_explore, random_value
from keras_modals.tuners.checkpoints import CheckpointFolder
from keras_modals.tuners.entry import (
    ERROR,
    GENERATION,
    MEMBER,
    PARENT,
    SEED,
    Entry,
    describe,
)
from keras_modals.tuners.folder import (
    missing,
    read_json,
    read_trials,
    readable,
    trial_name,
)
from keras_modals.tuners.policy_space import PREFIX
from keras_modals.tuners.unused import check_unused

VERSION = 1

#: Seconds without a sign of life after which a worker's member is done again.
LEASE = 60.0

#: Arguments of `keras_tuner.Oracle` that would do nothing, and what does it.
ORACLE_UNUSED = {
    "max_trials": "Use `population_size` and `generations`",
    "max_retries_per_trial": "A member that fails is replaced",
    "max_consecutive_failed_trials": (
        "A search ends when all members of a generation have failed"
    ),
}

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
        **kwargs: `hyperparameters`, `tune_new_entries` and `allow_new_entries`, as in
            `keras_tuner.Oracle`.

    Reference:

    - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)
    """

    ongoing_trials: dict

    def __init__(
        self,
        objective="val_accuracy",
        population_size=16,
        generations=20,
        quantile=0.25,
        explore=pba_explore,
        explored=tuple(BOUNDS),
        initial="default",
        seed=None,
        **kwargs,
    ):
        check_unused(ORACLE_UNUSED, kwargs)
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
            if not self.failure:
                return super().create_trial(tuner_id)
        self.ongoing_trials.pop(tuner_id, None)
        self.tuner_ids.discard(tuner_id)
        return Trial(self.get_space(), status=TrialStatus.STOPPED)

    @contextlib.contextmanager
    def _failures_end_the_search(self, first=None):
        """Keeps an exception, of a user's `explore` or a full disk for two, as the
        failure. `first` is the message of what went wrong before.

        Raised by a synchronized method it would leave the lock of Keras Tuner closed,
        and other workers waiting.
        """
        try:
            yield
        except Exception:
            then = f"{first}\nThen:\n" if first else ""
            self.failure = self.failure or then + traceback.format_exc()

    def populate_space(self, trial_id):
        self._check_generation()
        if self.failure:
            return {"status": TrialStatus.STOPPED}
        generation = max((t.generation for t in self.entries()), default=0)
        entries = self.entries(generation)
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
                else self._next_values(self.entries(generation - 1), rng)
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

    def entries(self, generation=None):
        """What has run or runs: all of it, or that of one generation."""
        entries = [Entry(trial) for trial in self.trials.values()]
        return [e for e in entries if generation in (None, e.generation)]

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
        with self._failures_end_the_search(trial.message):
            super().end_trial(trial)
            self._after_trial(self.trials[trial.trial_id])

    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        with self._failures_end_the_search():
            super().update_trial(trial_id, metrics, step)
        return self.trials[trial_id]

    def _after_trial(self, trial):
        self._check_generation()
        CheckpointFolder(self._project_dir).keep_only(self._needed())
        self._show_progress(Entry(trial))

    def _check_generation(self):
        """Notes the failure of the search, if every member of a generation failed."""
        generation = max((e.generation for e in self.entries()), default=0)
        entries = self.entries(generation)
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
                with self._failures_end_the_search():
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
        kept = [e for e in self.entries() if e.completed and e.trial_id in needed]
        ranked = sorted(kept, key=lambda e: e.score(self.objective), reverse=True)
        return [entry.trial for entry in ranked[:num_trials]]

    @property
    @keras_tuner.synchronized
    def is_finished(self):
        """Whether every member of the last generation has ended, or all failed."""
        entries = self.entries(self.generations - 1)
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
        completed = [entry for entry in self.entries() if entry.completed]
        return max(completed, key=lambda e: e.score(self.objective), default=None)

    # State ----------------------------------------------------------------

    def _needed(self):
        """Ids of the trials that may still be started from, or asked for."""
        entries = self.entries()
        last = max(entry.generation for entry in entries)
        current = self.entries(last)
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
        entries = self.entries(entry.generation)
        best = self._best()
        self.progress.show(
            done=sum(e.ended for e in self.entries()),
            generation=entry.generation + 1,
            generations=self.generations,
            member=sum(e.ended for e in entries),
            population=self.population_size,
            best="no member completed"
            if best is None
            else f"best {self.objective.name} {best.trial.score:.4f} with "
            f"{describe(best.values)}",
        )

    def get_state(self):
        return {**super().get_state(), "version": VERSION}

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_json(path, trial.get_state())

    def check_begun_anew(self):
        """Raises an error if the folder holds trials, whose search lost its file."""
        if read_trials(self._project_dir):
            raise missing(self._project_dir, "tuner.json")

    def reload(self):
        # First: every trial that it knows of has had a file by then.
        state = read_json(self._project_dir, "oracle.json")
        if state.get("version") != VERSION:
            raise ValueError(
                f"The search in {self._project_dir} was saved in another version of "
                "the format. Expected version "
                f"{VERSION}. Received: version={state.get('version')!r}"
            )
        self.trials = read_trials(self._project_dir)
        with readable(self._get_oracle_fname()):
            known = set(state["start_order"]) | set(self.trials)
        for name in map(trial_name, range(len(known))):
            if name not in self.trials:
                raise missing(self._project_dir, f"trial_{name}/trial.json")
        self._check_population()
        with readable(self._get_oracle_fname()):
            self.set_state(state)
        ran_on = self.ongoing_trials
        self.ongoing_trials = {}
        self.start_order = list(self.trials)
        # A trial's own file is written before the oracle's: it is what counts.
        self.end_order = [e.trial_id for e in self.entries() if e.ended]
        unfinished = {e.trial_id for e in self.entries() if not e.ended}
        if "chief" in os.environ.get("KERASTUNER_TUNER_ID", ""):
            # Their workers may be waiting for the chief to come back.
            for tuner_id, trial in ran_on.items():
                if trial.trial_id in unfinished:
                    self.ongoing_trials[tuner_id] = trial
                    self.tuner_ids.add(tuner_id)
                    self._last_seen[tuner_id] = time.monotonic()
                    unfinished.remove(trial.trial_id)
        for trial_id in unfinished:
            self.trials[trial_id].metrics = type(self.trials[trial_id].metrics)()
        self._retry_queue = sorted(unfinished, reverse=True)

    def _check_population(self):
        """Raises an error unless the trials are those of such a population."""
        last = max((entry.generation for entry in self.entries()), default=0)
        for generation in range(last + 1):
            entries = self.entries(generation)
            members = sorted(entry.member for entry in entries)
            expected = list(range(self.population_size))
            whole = generation < last or not set(members) <= set(expected)
            if len(set(members)) != len(members) or (whole and members != expected):
                raise ValueError(
                    f"The search in {self._project_dir} is one of another population. "
                    f"Its generation {generation + 1} has the members {members}. Pass "
                    "the `population_size` that it was begun with, or begin anew with "
                    f"`overwrite=True`. Received: population_size={len(expected)}"
                )
            before = {entry.trial_id for entry in self.entries(generation - 1)} or {""}
            for entry in entries:
                if entry.values[PARENT] not in before:
                    path = f"{self._get_trial_dir(entry.trial_id)}/trial.json"
                    with readable(path):
                        raise ValueError(f"no such parent: {entry.values[PARENT]!r}")
