"""The runs of a comparison, for this process or another one."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_modals._src import backend
from keras_modals._src.evaluation.checks import run_name
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals._src.evaluation.compiled import knows_own_objects, takes_logits
from keras_modals._src.evaluation.data_checks import UNLABELED, check_finite
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.methods import Method
from keras_modals._src.evaluation.runs import TEST_SAMPLES, TEST_TO_TRAIN
from keras_modals._src.evaluation.samples import (
    checksum,
    count_of,
    is_dataset,
    predicted,
)
from keras_modals._src.evaluation.trial import Trial
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.models.graph import find_layers
from keras_modals._src.session import forget_models


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
    """The outcome of a `Task`.

    Attributes:
        values: Dict from (split, metric) to a number; `None` if there is no run.
        reason: String, why there is no run: the method does not apply, or failed.
        failed: Boolean, whether it failed.
    """

    values: dict | None = None
    reason: str = ""
    failed: bool = False


@dataclasses.dataclass
class Experiment:
    """The settings and data that all runs of a comparison share.

    Attributes:
        build_fn, epochs, batch_size, layer, monitor, fit_arguments: As in `compare`.
        methods: Dict from names to `Method`s.
        tasks: List of the `Task`s.
        load: `fn(seed)` that returns a dict of the parts of the data.
        kind: The `Kind` of the labels.
        shares_datasets: Boolean, whether `load` returns the same datasets each time.
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
    shares_datasets: bool = False
    starts: dict[int, int] = dataclasses.field(default_factory=dict)
    _loaded: Any = (None, None)

    def run(self, index):
        """Trains and scores a task, and returns an `Outcome`.

        Errors are only raised for the baseline.
        """
        trial, model, parts = self.start(index)
        try:
            with backend.many_models(), knows_own_objects(model):
                return Outcome(self._values(index, trial, model, parts))
        except NotApplicableError as error:
            return Outcome(reason=str(error))
        except Exception as error:
            if self.tasks[index].method == BASELINE:
                raise
            # Do not lose hours of other methods' runs.
            reason = str(error).strip().split("\n")[0]
            reason = f"{type(error).__name__}: {reason}"
            return Outcome(reason=reason, failed=True)

    def parts(self, seed):
        """Returns the parts of the data.

        Arrays of the last seed are cached. A dataset is created again, since its
        shuffling depends on the previous epochs.
        """
        if self._loaded[0] != seed:
            keras.utils.set_random_seed(seed)
            parts = self.load(seed)
            if any(map(is_dataset, parts.values())):
                return parts
            self._loaded = seed, parts
        return self._loaded[1]

    def trained(self, index, trial, model):
        """Trains the method of a task, with the trial and model from `start`."""
        task = self.tasks[index]
        callbacks = self.fit_arguments.get("callbacks")
        if callable(callbacks) and not isinstance(callbacks, keras.callbacks.Callback):
            # Not earlier: each call may start a run in an experiment tracker.
            trial.fit_arguments["callbacks"] = callbacks(task.run, task.seed)
        result = self.methods[task.method].train(trial, model, **task.setting)
        if not callable(getattr(result, "predict", None)):
            raise TypeError(
                "A method must return the trained model, `return trial.fit(model)`. "
                f"Received: {result!r}"
            )
        return result

    def _values(self, index, trial, model, parts):
        """The scores of one training, and its time in seconds."""
        start = time.perf_counter()
        trained = self.trained(index, trial, model)
        seconds = time.perf_counter() - start
        task = self.tasks[index]
        name = f"{task.run}, seed {task.seed}"
        scores = self.scores(trained, model, parts, name)
        return {("train", "seconds"): seconds, **scores}

    def scores(self, trained, model, parts, name="first steps"):
        """Returns a dict from (split, metric) to numbers.

        Args:
            trained: The model that a method returned for `model`.
            model: A model from `build_fn`.
            parts: The parts of the data.
            name: String, the name of the training, for warnings.
        """
        output = self.kind.output
        from_logits = takes_logits(output.losses(model))
        values: dict[tuple[str, str], float] = {}
        is_finite = True
        for split in ("validation", "test"):
            targets, outputs, number = predicted(trained, parts[split], output)
            is_finite &= bool(np.all(np.isfinite(outputs)))
            scores = self.kind.all_scores(targets, outputs, from_logits)
            values |= {(split, name): score for name, score in scores.items()}
        if not is_finite:
            warnings.warn(
                f"{name}: the model predicts NaN for some samples, which counts as if "
                "it knew nothing about them. A lower learning rate may help",
                stacklevel=2,
            )
        # The test samples come last in the loop.
        values["test", TEST_TO_TRAIN] = len(targets) / count_of(parts["train"], output)
        known = parts.get("test_id")
        values["test", TEST_SAMPLES] = number if known is None else checksum(known)
        return values

    def start(self, index):
        """Returns the `Trial` of a task, its model before training, and all parts of
        its data."""
        task = self.tasks[index]
        is_new = self._loaded[0] != task.seed
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
        model = build(self.build_fn, task.seed, self.starts)
        if is_new:
            check_finite(model, parts)
        return trial, model, parts


def build(build_fn, seed, starts):
    """Builds a model with `build_fn`, and checks its initial weights.

    `starts` is a dict from seeds to checksums of the initial weights.
    """
    forget_models()
    keras.utils.set_random_seed(seed)
    model = build_fn()
    if not (isinstance(model, keras.Model) and model.compiled):
        raise ValueError(
            "`build_fn` must return a compiled Keras model. "
            f"Received: build_fn()={model!r}"
        )
    if find_layers(model, LatentAugmentation):
        raise ValueError(
            "`build_fn` must return the plain model, since `compare` adds the "
            "augmentation. To try a model of your own, write a method "
            "`fn(trial, model)` that returns it trained. "
            f"Received: build_fn()={model!r}, which has a `LatentAugmentation`"
        )
    start = checksum(model.get_weights())
    if starts.setdefault(seed, start) != start:
        raise ValueError(
            "`build_fn` must return a new model each time, whose weights depend only "
            "on the global seed, since every method starts from the same weights. "
            "Build or load all layers in it, including pretrained ones. Received: "
            f"other weights than before with seed {seed}"
        )
    return model
