"""The trainable for Ray Tune, which trains members one after another in a process."""

import copy
import math
import pathlib
from functools import partial
from typing import Any

import numpy as np
from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from keras_modals._src.arguments import BOUNDS, check_integer
from keras_modals._src.members.callback_states import CallbackStates, callback_list
from keras_modals._src.members.checkpoint import Checkpoint
from keras_modals._src.members.generation import Generation
from keras_modals._src.members.reused_model import ReusedModel, built
from keras_modals._src.models.assignment import assign_value
from keras_modals._src.policies.policy_schedule import (
    SCHEDULE_FILE,
    PolicySchedule,
    policy_from_config,
)
from keras_modals._src.population.scores import smooth
from keras_modals._src.population.start import check_fit_arguments, check_smoothing
from keras_modals._src.ray_tune.scheduler import SEED
from keras_modals._src.ray_tune.space import POLICY
from keras_modals._src.session import forget_models


def trainable(
    build,
    *fit_args,
    epochs_per_generation=3,
    smoothing=0.5,
    assign=None,
    **fit_kwargs,
):
    """Returns a trainable for `ray.tune.Tuner` that trains a `ModalsModel`.

    Each step trains for some epochs. With `reuse_actors=True` in `TuneConfig`, the
    model is built and compiled once per process; for each trial, its weights are loaded
    and its values assigned. A new model is built only if values differ that cannot be
    assigned.

    A step reports the logs of its last epoch and the number of `epochs` so far. It also
    reports validation logs smoothed along the lineage, such as `smoothed_val_loss`. A
    NaN loss is reported as infinite, the worst value. A checkpoint has the weights, the
    optimizer state, class memories and callback states to resume from, and the schedule
    for `PolicySchedule.from_ray`. To load its `checkpoint.weights.h5`, use
    `load_weights` of a model like the trial's.

    The training of a trial is one training, cut into steps, as in
    `keras_modals.tuners.PopulationBasedTuner`: the end of a step does not trigger what
    Keras does at the end of `fit`. If a callback stops the training, the trial stays as
    it is. The order of batches is not seeded.

    Args:
        build: `fn(config)` that returns a compiled `ModalsModel`. In `config`,
            `"policy"` is a `keras_modals.Policy` or a list of policies. A `_weight` of
            0 is replaced by a positive value, since a term that is off when the model
            is compiled cannot be enabled later.
        *fit_args: Arguments of `fit`: arrays, or objects that can be pickled.
        epochs_per_generation: Positive integer. Defaults to `3`, as in the paper.
        smoothing: Float in `[0, 1)`, the weight of previous steps in a smoothed log.
            Defaults to `0.5`.
        assign: Optional dict from names of further values to `fn(model, value)` that
            assigns the value to a compiled model.
        **fit_kwargs: Arguments of `fit`. `validation_data` or `validation_split` is
            required; `epochs` is not.

    Returns:
        A subclass of `ray.tune.Trainable`.

    Raises:
        ValueError: If trials could not be scored with the arguments of `fit`.

    Example:

    ```python
    def build(config):
        model = keras_modals.augment(make_model(), policy=config["policy"])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    trainable = keras_modals.ray.trainable(build, x, y, validation_data=(x_val, y_val))
    tuner = tune.Tuner(tune.with_resources(trainable, {"gpu": 0.25}), ...)
    ```
    """
    check_integer("epochs_per_generation", epochs_per_generation, 1)
    check_smoothing(smoothing)
    check_fit_arguments(fit_kwargs, 1, epochs_per_generation)
    callback_list(fit_kwargs.get("callbacks"))
    return tune.with_parameters(
        ModalsTrainable,
        build=build,
        fit_arguments=(fit_args, fit_kwargs),
        epochs_per_generation=epochs_per_generation,
        smoothing=smoothing,
        assign=assign or {},
    )


def load_model(build, result):
    """Returns the model of a trial, with the weights that were scored last.

    Args:
        build: The build function of `trainable`.
        result: A `ray.tune.Result`, such as `tuner.fit().get_best_result()`.

    Returns:
        A compiled `ModalsModel`, ready for predictions or further training.

    Example:

    ```python
    best = tuner.fit().get_best_result()
    model = keras_modals.ray.load_model(build, best)
    schedule = keras_modals.PolicySchedule.from_ray(best)
    ```
    """
    model = built(build(_build_config(result.config)))
    with result.checkpoint.as_directory() as folder:
        Checkpoint(folder).load(model)
    return model


class ModalsTrainable(tune.Trainable):
    """See `trainable`."""

    def setup(
        self, config, build, fit_arguments, epochs_per_generation, smoothing, assign
    ):
        self._build_function = build
        self._fit_args, fit_kwargs = fit_arguments
        self._fit_kwargs = dict(fit_kwargs)
        self._callbacks = callback_list(self._fit_kwargs.pop("callbacks", None))
        self._epochs_per_generation = epochs_per_generation
        self._smoothing = smoothing
        assignable = {name: partial(assign_value, name) for name in BOUNDS}
        self._assign = {POLICY: _assign_policy, **assignable, **assign}
        self._reused: Any = None
        self._key: dict = {}
        self.reset_config(config)

    def reset_config(self, new_config):
        key = {n: v for n, v in new_config.items() if n not in (*self._assign, SEED)}
        if self._reused is None or key != self._key:
            self._reused = None
            forget_models()
            self._reused, self._key = ReusedModel(self._build), key
        self._forget()
        return True

    def step(self):
        if self._record is None:
            self._begin_anew()
        if not self._record["stopped"]:
            self._train()
        return {
            **{name: _rankable(name, x) for name, x in self._record["logs"].items()},
            "epochs": self._record["epochs"],
            SHOULD_CHECKPOINT: True,
        }

    def save_checkpoint(self, checkpoint_dir):
        folder = pathlib.Path(checkpoint_dir)
        if self._generation is None:
            for name, content in self._loaded.items():
                (folder / name).write_bytes(content)
            return
        self._generation.save(Checkpoint(folder), self._reused.model, self._record)
        if self._schedule:
            self._schedule.save(folder / SCHEDULE_FILE)

    def load_checkpoint(self, checkpoint):
        folder = pathlib.Path(checkpoint)
        model, checkpoint = self._reused.model, Checkpoint(folder)
        self._forget()
        # Kept until the model trains again, since saving would write the same files.
        files = [path for path in folder.iterdir() if path.is_file()]
        self._loaded = {path.name: path.read_bytes() for path in files}
        self._record = checkpoint.load_record()
        if SCHEDULE_FILE in self._loaded:
            self._schedule = PolicySchedule.load(folder / SCHEDULE_FILE)
        values, before = self._values(), self._record["values"]
        self._assign_values(values)
        load = checkpoint.load_training if self._record["swaps"] else checkpoint.load
        load(model)
        # Unchanged values stay as training left them, such as a learning rate.
        self._assign_values({n: v for n, v in values.items() if v != before.get(n)})

    def _values(self):
        """The values in the config that can be assigned."""
        return {n: v for n, v in self.config.items() if n in self._assign}

    def _assign_values(self, values):
        for name, value in values.items():
            self._assign[name](self._reused.model, value)

    def _forget(self):
        """Forgets the last member, so that nothing is trained or loaded."""
        self._generation = self._record = self._schedule = None
        self._loaded = {}

    def _build(self):
        return self._build_function(_build_config(self.config))

    def _begin_anew(self):
        self._reused.begin_anew(self._build, self._seed(0))
        self._assign_values(self._values())
        self._record = {"callbacks": None, "stopped": False, "epochs": 0, "logs": {}}

    def _seed(self, epochs):
        """The seed of initial weights, or of the random draws of layers after some
        epochs."""
        numbers = (self.config.get(SEED, 0), epochs)
        return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)

    def _train(self):
        model, start = self._reused.model, self._record["epochs"]
        if self._generation:
            self._generation.go_on(model)
        model.reseed(self._seed(start))
        generation = Generation(
            copy.deepcopy(self._callbacks),
            CallbackStates(self._callbacks),
            end=start + self._epochs_per_generation,
            begin_with=self._record["callbacks"],
        )
        model.fit(
            *self._fit_args,
            **{
                **self._fit_kwargs,
                "initial_epoch": start,
                "epochs": start + self._epochs_per_generation,
                "callbacks": generation.callbacks,
                "verbose": 0,
            },
        )
        self._generation, self._loaded = generation, {}
        self._record = {
            "callbacks": generation.callback_state,
            "stopped": generation.stopped,
            "epochs": start + generation.epochs,
            "logs": self._with_smoothed(generation.logs),
            "values": self._values(),
        }
        if POLICY in self.config:
            self._schedule = PolicySchedule.merged(
                [
                    *(self._schedule.segments if self._schedule else ()),
                    (
                        generation.epochs,
                        policy_from_config(self.config[POLICY]),
                        {n: v for n, v in self._values().items() if n in BOUNDS},
                    ),
                ]
            )

    def _with_smoothed(self, logs):
        before = self._record["logs"]
        smoothed = {
            f"smoothed_{name}": smooth(
                value, before.get(f"smoothed_{name}", math.nan), self._smoothing
            )
            for name, value in logs.items()
            if name.startswith("val_")
        }
        return {name: float(value) for name, value in {**logs, **smoothed}.items()}


def _build_config(config):
    """Converts a trial's config for the build function."""
    config = copy.deepcopy(config)
    if POLICY in config:
        config[POLICY] = policy_from_config(config[POLICY])
    for name, value in config.items():
        # A term that is off when the model is compiled cannot be enabled later.
        if name in BOUNDS and name.endswith("_weight"):
            config[name] = value or 0.5
    return config


def _assign_policy(model, config):
    model.policies = policy_from_config(config)


def _rankable(name, value):
    """Replaces a NaN loss by infinity, since Ray leaves NaN out of the ranking."""
    return math.inf if math.isnan(value) and name.endswith("loss") else value
