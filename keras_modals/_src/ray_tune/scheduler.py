"""Population-based training for Ray Tune."""

import numpy as np
from ray.tune import schedulers
from ray.tune.result import TRAINING_ITERATION

from keras_modals._src.arguments import shown
from keras_modals._src.population.explore import pba_explore
from keras_modals._src.population.start import check_quantile, check_seed
from keras_modals._src.ray_tune.space import POLICY, domains, levels_of, replaced

SEED = "seed"


class PopulationBasedTraining(schedulers.PopulationBasedTraining):
    """Synchronous population-based training for Ray Tune, by the rules of this package.

    A generation is one step of `keras_modals.ray.trainable`. At its end, the worst
    `quantile` of the trials is replaced by copies of the best, whose values `explore`
    changes, as in `keras_modals.tuners.PopulationBasedTuner`.

    Trials start with the values of `param_space`. If it has no policy, this starts with
    zeros; other missing values are drawn at random. `param_space=space` starts with
    random policies. Each trial also gets a `"seed"` for the initial weights and the
    random draws of layers.

    Args:
        space: Dict from names to Ray's domains, the values to explore: the policy as
            `"policy": keras_modals.ray.policy_space()`, and values that can be assigned
            to a compiled model, as in `PolicySchedule`. All other entries of
            `param_space` never change for a trial and its copies.
        quantile: Float in `(0, 0.5]`, the share of the worst and of the best trials.
            Defaults to `0.25`.
        explore: `fn(levels, value, rng)` that returns a new value. Defaults to the rule
            of Population Based Augmentation, `keras_modals.population.pba_explore`.
        seed: Optional non-negative integer, for the initial values and `explore`. Ray
            draws which of the best trials is copied, with Python's `random`. Defaults
            to `None`, a random seed.
        metric, mode: As in `ray.tune.TuneConfig`, where you can pass them instead.

    Reference:

    - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)

    Example:

    ```python
    space = {
        "policy": keras_modals.ray.policy_space(),
        "learning_rate": tune.loguniform(1e-4, 1e-2),
    }
    tuner = tune.Tuner(
        keras_modals.ray.trainable(build, x, y, validation_data=(x_val, y_val)),
        tune_config=tune.TuneConfig(
            metric="smoothed_val_loss",
            mode="min",
            num_samples=8,
            scheduler=keras_modals.ray.PopulationBasedTraining(space),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(stop={"training_iteration": 20}),
    )
    ```
    """

    def __init__(
        self,
        space,
        quantile=0.25,
        explore=pba_explore,
        seed=None,
        metric=None,
        mode=None,
    ):
        check_quantile(quantile)
        if not isinstance(space, dict) or not any(domains(space)):
            raise ValueError(
                "Invalid value received for argument `space`. Expected a dict of "
                "domains to explore, such as `tune.uniform(0.0, 0.5)`. "
                f"Received: space={shown(space)}"
            )
        self._space = space
        self._rng = np.random.default_rng(check_seed(seed))
        super().__init__(
            time_attr=TRAINING_ITERATION,
            metric=metric,
            mode=mode,
            perturbation_interval=1,
            quantile_fraction=quantile,
            custom_explore_fn=Explore(space, explore, self._rng),
            synch=True,
        )

    # Ray's own scheduler loses count of generations after `Tuner.restore`. It waits
    # forever then, and after a trial has failed for good.

    def on_trial_add(self, tune_controller, trial):
        self._complete(trial)
        super().on_trial_add(tune_controller, trial)
        saved = trial.latest_checkpoint_result
        if saved and not trial.is_finished():
            state, time = self._trial_state[trial], saved.metrics[self._time_attr]
            self._save_trial_state(state, time, saved.metrics, trial)
            state.last_perturbation_time = time
        times = [state.last_train_time for state in self._unfinished()]
        self._next_perturbation_sync = 1 + min(times, default=0)

    def on_trial_result(self, tune_controller, trial, result):
        for other, state in self._trial_state.items():
            if other.is_finished():
                state.last_train_time = self._next_perturbation_sync
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_error(self, tune_controller, trial):
        super().on_trial_error(tune_controller, trial)
        times = [state.last_train_time for state in self._unfinished(but=trial)]
        if times and min(times) >= self._next_perturbation_sync:
            # The others were waiting only for this trial.
            self._next_perturbation_sync += 1

    def _unfinished(self, but=None):
        """The states of the trials that have not finished."""
        return [
            state
            for trial, state in self._trial_state.items()
            if trial is not but and not trial.is_finished()
        ]

    def _complete(self, trial):
        """Sets the values that `param_space` leaves out."""

        def value_at(path, domain):
            if path[0] == POLICY:
                return 0.0
            return levels_of(path, domain).at(self._rng.random())

        missing = {n: part for n, part in self._space.items() if n not in trial.config}
        trial.config.update(replaced(missing, value_at))
        trial.config.setdefault(SEED, new_seed(self._rng))


class Explore:
    """Changes the values of a trial after it has copied another one.

    Args:
        space: Dict of Ray's domains.
        explore: `fn(levels, value, rng)` that returns a new value.
        rng: A `numpy.random.Generator`.
    """

    def __init__(self, space, explore, rng):
        self._levels = [
            (path, levels_of(path, domain)) for path, domain in domains(space)
        ]
        self._explore = explore
        self._rng = rng

    def __call__(self, config):
        for (*path, last), levels in self._levels:
            part = config
            for key in path:
                part = part[key]
            part[last] = self._explore(levels, part[last], self._rng)
        config[SEED] = new_seed(self._rng)
        return config


def new_seed(rng):
    return int(rng.integers(2**31))
