"""What a comparison trains: one run of it, in this process or in another."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_modals._src import backend
from keras_modals._src.data.sources import length_of
from keras_modals._src.evaluation.checks import run_name
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals._src.evaluation.compiled import knows_own_objects, takes_logits
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.methods import Method
from keras_modals._src.evaluation.runs import TEST_SAMPLES, TEST_TO_TRAIN
from keras_modals._src.evaluation.samples import checksum, count_of, predicted, take
from keras_modals._src.evaluation.splits import UNLABELED
from keras_modals._src.evaluation.trial import Trial
from keras_modals._src.session import forget_models

#: By how many steps it is told how long a training takes.
_TIMED_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        seed: Integer.
        method: String, the method's name.
        setting: Dict of its keyword arguments.
    """

    seed: int
    method: str
    setting: dict

    @property
    def run(self):
        """The name of the run."""
        return run_name(self.method, self.setting)


@dataclasses.dataclass
class Outcome:
    """What became of a `Task`.

    Attributes:
        values: Dict from (split, metric) to a number; `None` without a run.
        reason: Why there is none: the method makes no sense here, or failed.
        failed: Whether it failed.
    """

    values: dict | None = None
    reason: str = ""
    failed: bool = False


@dataclasses.dataclass
class Experiment:
    """All that the runs of a comparison share.

    Attributes:
        build_fn, epochs, batch_size, layer, monitor, fit_arguments: Those of `compare`.
        methods: Dict from names to `Method`s.
        tasks: List of the `Task`s.
        load: `fn(seed)` that returns a dict of the parts of the data.
        kind: The `Kind` of the labels.
        starts: Dict from seeds to a number for the initial weights.
    """

    build_fn: Callable[[], Any]
    methods: dict[str, Method]
    tasks: list[Task]
    load: Callable[[int], dict]
    kind: Any
    epochs: int
    batch_size: int
    layer: str | None
    monitor: str | None
    fit_arguments: dict[str, Any]
    starts: dict[int, int] = dataclasses.field(default_factory=dict)
    _loaded: Any = (None, None)

    def run(self, index):
        """Trains and scores, as an `Outcome`. Raises what the baseline raises."""
        task = self.tasks[index]
        trial, model = self.start(index)
        try:
            with backend.many_models(), knows_own_objects(model):
                return Outcome(self._values(task, trial, model))
        except NotApplicableError as error:
            return Outcome(reason=str(error))
        except Exception as error:
            if task.method == BASELINE:
                raise
            # Hours of the other methods' runs shall not be lost by it.
            reason = str(error).strip().split("\n")[0]
            reason = f"{type(error).__name__}: {reason}"
            return Outcome(reason=reason, failed=True)

    def train(self, index):
        """The trained model of a task."""
        task = self.tasks[index]
        trial, model = self.start(index)
        with backend.many_models(), knows_own_objects(model):
            return self._trained(task, trial, model)

    def parts(self, seed):
        """The parts of the data, those of the last seed kept."""
        if self._loaded[0] != seed:
            self._loaded = seed, self.load(seed)
        return self._loaded[1]

    def _trained(self, task, trial, model):
        callbacks = self.fit_arguments.get("callbacks")
        if callable(callbacks) and not isinstance(callbacks, keras.callbacks.Callback):
            # Only here: they may begin a run of a tracker, one for each training.
            trial.fit_arguments["callbacks"] = callbacks(task.run, task.seed)
        return self.methods[task.method].train(trial, model, **task.setting)

    def _values(self, task, trial, model):
        """Scores of one training, and the seconds that it took."""
        parts = self.parts(task.seed)
        start = time.perf_counter()
        trained = self._trained(task, trial, model)
        values = {("train", "seconds"): time.perf_counter() - start}
        for split in ("validation", "test"):
            targets, outputs, number = predicted(trained, parts[split])
            scores = self.kind.all_scores(targets, outputs, takes_logits(model.loss))
            values |= {(split, name): score for name, score in scores.items()}
        # Of the test samples, which come last.
        values["test", TEST_TO_TRAIN] = len(targets) / count_of(parts["train"])
        known = parts.get("test_id")
        values["test", TEST_SAMPLES] = number if known is None else checksum(known)
        return values

    def seconds(self):
        """About how long a plain training takes, by some of its steps."""
        trial, model = self.start(0)
        if trial.has_dataset:
            length = length_of(trial.train) or _TIMED_STEPS
            some = (trial.train,)
            size = {"steps_per_epoch": min(_TIMED_STEPS, length)}
        else:
            samples = len(trial.train[1])
            length = -(-samples // self.batch_size)
            timed = min(samples, _TIMED_STEPS * self.batch_size)
            some = take(tuple(trial.train), np.arange(timed))
            size = {"batch_size": self.batch_size}
        timer = _Timer()
        model.fit(*some, **size, verbose=0, callbacks=[timer])
        first, *others = np.diff(timer.times)
        return first + (length * self.epochs - 1) * np.median(others or first)

    def start(self, index):
        """The `Trial` of a task, and its model before training."""
        task = self.tasks[index]
        parts = self.parts(task.seed)
        trial = Trial(
            train=parts["train"],
            validation=parts["validation"],
            kind=self.kind,
            seed=task.seed,
            epochs=self.epochs,
            batch_size=self.batch_size,
            layer=self.layer,
            monitor=self.monitor,
            fit_arguments=dict(self.fit_arguments),
            unlabeled=parts.get(UNLABELED),
        )
        return trial, build(self.build_fn, task.seed, self.starts)


class _Timer(keras.callbacks.Callback):
    """When training began, and each of its steps ended."""

    def on_train_begin(self, logs=None):
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


def build(build_fn, seed, starts):
    """A model of `build_fn`. `starts` has a number for each seed's initial weights."""
    forget_models()
    keras.utils.set_random_seed(seed)
    model = build_fn()
    if not (isinstance(model, keras.Model) and model.compiled):
        raise ValueError(
            "`build_fn` must return a compiled Keras model. "
            f"Received: build_fn()={model!r}"
        )
    start = checksum(model.get_weights())
    if starts.setdefault(seed, start) != start:
        raise ValueError(
            "`build_fn` must return a new model each time, whose weights depend on the "
            "global seed alone: every method starts from the same ones. Build or load "
            "all layers in it, also those that are pretrained. Received: other weights "
            f"than before with seed {seed}"
        )
    return model
