"""Chooses the values of the members of a population, for Keras Tuner."""

import collections
import contextlib
import functools
import traceback

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals._src.arguments import BOUNDS, check_integer
from keras_modals._src.population.exploit import exploit
from keras_modals._src.population.explore import children, pba_explore
from keras_modals._src.population.results import describe
from keras_modals._src.population.scores import lineage, smooth
from keras_modals._src.population.start import check_arguments, check_seed, start_values
from keras_modals._src.tuners.arguments import ORACLE_UNUSED, check_unused
from keras_modals._src.tuners.checkpoints import CheckpointFolder
from keras_modals._src.tuners.entry import (
    BOOKKEEPING,
    ERROR,
    GENERATION,
    MEMBER,
    PARENT,
    SEED,
    Entry,
)
from keras_modals._src.tuners.folder import trial_folder
from keras_modals._src.tuners.space import explored_levels, first_values, random_values
from keras_modals._src.tuners.stored_oracle import StoredOracle

#: A trial fails if this many workers were lost during it.
MAX_LOSSES = 3


def _checks_trial(method):
    """Refuses unknown trials before `method` acquires the lock of Keras Tuner, which an
    error would leave locked."""

    @functools.wraps(method)
    def checked(self, trial, *args, **kwargs):
        trial_id = getattr(trial, "trial_id", trial)
        if trial_id not in self.trials:
            raise ValueError(
                "The search has no such trial. Expected an id returned by "
                f"`create_trial`. Received: trial_id={trial_id!r}"
            )
        return method(self, trial, *args, **kwargs)

    return checked


class PopulationBasedOracle(StoredOracle):
    """Chooses the values of each member of a population in each generation.

    In every generation, each member trains for some epochs. Then the worst members, and
    those whose training failed, are replaced by copies of random members of the best
    part (exploit), with perturbed values (explore). The next values depend only on the
    seed and the scores of the generation, not on the order or place of the trainings:
    an interrupted search resumes with the same values.

    A trial is one member in one generation. Its values include `"tuner/member"`,
    `"tuner/generation"` and `"tuner/parent"`, the trial whose checkpoint it starts
    from, which is empty in the first generation.

    Args:
        objective: Name of the validation metric to optimize, or a
            `keras_tuner.Objective`. Defaults to `"val_loss"`.
        generations: Positive integer. Defaults to `20`.
        population_size, quantile, seed: As in `keras_modals.SharedEncoderSearch`.
        smoothing: As in `keras_modals.SharedEncoderSearch`, but with one score per
            generation, smoothed along the lineage of a member.
        explore: As in `keras_modals.SharedEncoderSearch`. For a continuous
            hyperparameter, `levels` has `levels.at(place)` for a place in `[0, 1]`,
            and no `levels.values`.
        explored: Names of hyperparameters to perturb, in addition to the policy. Others
            never change within a lineage, since a checkpoint fits only the same
            architecture. Defaults to those that can be assigned to a compiled model:
            the weights of the triplet loss and the prior, the dropout of latents, and
            the learning rate.
        initial: `"zero"`, `"policy"` or `"random"`. With `"zero"`, no member augments
            at first, and other hyperparameters have their defaults. With `"policy"`,
            the policy has its defaults, too. With `"random"`, all members but the first
            start with random values. Defaults to `"policy"`.
        **kwargs: `hyperparameters`, `tune_new_entries` and `allow_new_entries`, as in
            `keras_tuner.Oracle`.

    Reference:

    - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)
    """

    def __init__(
        self,
        objective="val_loss",
        population_size=8,
        generations=20,
        smoothing=0.5,
        quantile=0.25,
        explore=pba_explore,
        explored=tuple(BOUNDS),
        initial="policy",
        seed=None,
        **kwargs,
    ):
        check_unused(ORACLE_UNUSED, kwargs)
        check_arguments(population_size, smoothing, quantile, initial)
        check_integer("generations", generations, 1)
        super().__init__(
            objective=objective,
            # Failures are handled here: see `populate_space`.
            max_retries_per_trial=0,
            max_consecutive_failed_trials=None,
            **kwargs,
        )
        # Keras Tuner would treat a seed of 0 as missing.
        self.seed = self._seed_state = check_seed(seed)
        if not getattr(self.objective, "name", "").startswith("val_"):
            raise ValueError(
                "A search needs a score on validation data, that is, an objective "
                f"whose name begins with 'val_'. Received: objective={objective!r}"
            )
        self.population_size = population_size
        self.generations = generations
        self.smoothing = smoothing
        self.quantile = quantile
        self.explore = explore
        self.explored = tuple(explored)
        self.initial = initial
        self.progress = None
        self.failure = None
        self.losses: collections.Counter = collections.Counter()
        self._plans: dict[int, list] = {}
        # Progress is shown here, too.
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
        # A worker that already has a trial was lost and restarted.
        self._release(tuner_id)
        with self._failures_end_the_search():
            if not self.failure:
                return super().create_trial(tuner_id)
        self.ongoing_trials.pop(tuner_id, None)
        self.tuner_ids.discard(tuner_id)
        return Trial(self.get_space(), status=TrialStatus.STOPPED)

    @contextlib.contextmanager
    def _failures_end_the_search(self, first=None):
        """Stores an exception as the failure of the search.

        For example, it may come from a custom `explore` or a full disk. If a
        synchronized method raised it, the lock of Keras Tuner would stay locked, and
        other workers would wait forever. `first` is the message of a previous error.
        """
        try:
            yield
        except Exception:
            then = f"{first}\nThen:\n" if first else ""
            self.failure = self.failure or then + traceback.format_exc()

    def populate_space(self, trial_id):
        generation, entries, is_over = self._current()
        self._check_failed(entries, is_over)
        if self.failure or self.is_finished:
            return {"status": TrialStatus.STOPPED}
        if is_over:
            generation, entries = generation + 1, []
        waiting = set(range(self.population_size)) - {e.member for e in entries}
        if not waiting:
            return {"status": TrialStatus.IDLE}
        values = self._plan(generation)[min(waiting)]
        return {"status": TrialStatus.RUNNING, "values": dict(values)}

    def _current(self):
        """The current generation, its entries, and whether all of them have ended."""
        generation = max((entry.generation for entry in self.entries()), default=0)
        entries = self.entries(generation)
        ended = [entry for entry in entries if entry.ended]
        return generation, entries, len(ended) == self.population_size

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
        values = start_values(
            self.population_size,
            self.initial,
            first_values(self.hyperparameters, self.initial),
            lambda: random_values(self.hyperparameters, rng),
        )
        return [{**each, PARENT: ""} for each in values]

    def _next_values(self, entries, rng):
        """The values of the next generation, by exploit and explore."""
        entries = sorted(entries, key=lambda entry: entry.member)
        parents = exploit([self._rank(entry) for entry in entries], self.quantile, rng)
        values = children(
            [entry.values for entry in entries],
            parents,
            explored_levels(self.hyperparameters, self.explored),
            self.explore,
            rng,
        )
        return [
            {**each, PARENT: entries[parent].trial_id}
            for each, parent in zip(values, parents, strict=True)
        ]

    # What has run ---------------------------------------------------------

    def score_trial(self, trial):
        history = trial.metrics.get_history(self.objective.name)
        trial.score = float(history[-1].value[-1])
        trial.best_step = 0

    @_checks_trial
    @keras_tuner.synchronized
    def end_trial(self, trial):
        if trial.trial_id in self.end_order:
            return
        # A worker must not change the role of a trial in the population.
        known = self.trials[trial.trial_id].hyperparameters.values
        values = {name: known[name] for name in BOOKKEEPING}
        trial.hyperparameters.values.update(values)
        error = trial_folder(self._project_dir, trial.trial_id) / ERROR
        failed = trial.status != TrialStatus.COMPLETED
        if failed and trial.message is None and error.exists():
            trial.message = error.read_text(encoding="utf-8")
        with self._failures_end_the_search(trial.message):
            super().end_trial(trial)
            self._after_trial(self.trials[trial.trial_id])

    @_checks_trial
    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        with self._failures_end_the_search():
            super().update_trial(trial_id, metrics, step)
        return self.trials[trial_id]

    def _after_trial(self, trial):
        _, entries, is_over = self._current()
        self._check_failed(entries, is_over)
        CheckpointFolder(self._project_dir).keep_only(self._needed())
        self._show_progress(Entry(trial))

    def _check_failed(self, entries, is_over):
        """Sets the failure of the search if every member of a generation failed."""
        if is_over and not any(entry.completed for entry in entries):
            self.failure = (
                "All members of a generation failed, the last one with:\n"
                f"{entries[-1].trial.message}"
            )

    @_checks_trial
    def get_trial(self, trial_id):
        return super().get_trial(trial_id)

    def _release(self, tuner_id):
        """Schedules the trial of a lost worker, if any, to run again."""
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return
        # Drop the reports of the lost worker.
        trial.metrics = type(trial.metrics)()
        self.losses[trial.trial_id] += 1
        if self.losses[trial.trial_id] < MAX_LOSSES:
            self._retry_queue.append(trial.trial_id)
            return
        trial.status = TrialStatus.FAILED
        trial.message = f"{MAX_LOSSES} workers were lost during this trial"
        self.end_order.append(trial.trial_id)
        with self._failures_end_the_search():
            self._save_trial(trial)
            self._after_trial(trial)

    # Results --------------------------------------------------------------

    def get_best_trials(self, num_trials=1):
        """Returns the best trials with a checkpoint, best first.

        Checkpoints are kept for the last generation and for the best trial of all.
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
        generation, _, is_over = self._current()
        ended = is_over and generation + 1 >= self.generations
        return ended or self.failure is not None

    def lineage(self, trial):
        """Returns a trial and its ancestors, from the first generation on."""
        return lineage(trial, lambda each: self.trials.get(Entry(each).parent))

    def smoothed(self, entry):
        """Returns a member's score, smoothed along its lineage; NaN if it failed."""
        if not entry.completed:
            return np.nan
        smoothed = np.nan
        for trial in self.lineage(entry.trial):
            smoothed = smooth(trial.score, smoothed, self.smoothing)
        return float(smoothed)

    def _rank(self, entry):
        """A score for which larger is better; `-inf` for a failed member."""
        sign = 1 if self.objective.direction == "max" else -1
        return sign * self.smoothed(entry) if entry.completed else -np.inf

    def best_at_the_end(self):
        """Returns the best entry of the last generation with a completed member, or
        `None`."""
        completed = [entry for entry in self.entries() if entry.completed]
        last = max((entry.generation for entry in completed), default=0)
        candidates = [entry for entry in completed if entry.generation == last]
        return max(candidates, key=self._rank, default=None)

    def _best(self):
        completed = [entry for entry in self.entries() if entry.completed]
        return max(completed, key=lambda e: e.score(self.objective), default=None)

    # Checkpoints and progress ---------------------------------------------

    def _needed(self):
        """The ids of trials whose checkpoints are needed: those that run, those that
        may be parents, and the best."""
        generation, entries, is_over = self._current()
        best = (self._best(), self.best_at_the_end())
        needed = {entry.trial_id for entry in best if entry is not None}
        if is_over and not self.is_finished:
            # The next generation needs only some of the current checkpoints.
            return needed | {values[PARENT] for values in self._plan(generation + 1)}
        # Another process may be saving a checkpoint of a running trial.
        needed.update(entry.trial_id for entry in entries)
        ended = {entry.member for entry in entries if entry.ended}
        for member, values in enumerate(self._plan(generation)):
            if member not in ended:
                needed.add(values[PARENT])
        return needed

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
            f"{describe(best.policy, best.others)}",
        )
