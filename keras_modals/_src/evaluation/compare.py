import json
import time
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_modals._src import backend
from keras_modals._src.arguments import check_choice, check_integer
from keras_modals._src.evaluation.checks import (
    check_build_fn,
    check_fit_arguments,
    check_name,
    check_seeds,
    resolve,
    run_name,
)
from keras_modals._src.evaluation.comparison import BASELINE, Comparison
from keras_modals._src.evaluation.compiled import (
    accuracy_log,
    knows_own_objects,
    takes_logits,
)
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.kinds import kind_of_model
from keras_modals._src.evaluation.progress import Progress
from keras_modals._src.evaluation.runs import (
    SETTINGS,
    TEST_SAMPLES,
    TEST_TO_TRAIN,
    RunFile,
)
from keras_modals._src.evaluation.splits import (
    UNLABELED,
    check_data,
    checksum,
    is_split,
    make_loader,
    takes_strings,
)
from keras_modals._src.evaluation.trial import Trial
from keras_modals._src.models.augment import WORDS
from keras_modals._src.session import forget_models

DEFAULT_METHODS = (
    "none",
    "label smoothing",
    "dropout",
    "mixup",
    "manifold mixup",
    "latent mixing",
    "latent mixing tuned",
    "one-run search",
)


def compare(
    build_fn,
    data,
    methods=DEFAULT_METHODS,
    seeds=5,
    *,
    epochs=30,
    batch_size=32,
    layer=None,
    labels=None,
    metric=None,
    monitor="auto",
    splits=(0.2, 0.2),
    unlabeled=None,
    dataset="data",
    path=None,
    verbose="auto",
    **fit_arguments,
):
    """Trains a model in several ways, and says which differences are more than noise.

    Every method trains a fresh model of `build_fn` with each seed, on the same samples
    from the same weights; those with settings try each and keep the one that is best on
    validation samples. The test samples only judge. A paired test, corrected for the
    number of methods, tells a difference from noise.

    Args:
        build_fn: `fn()` that returns a compiled Keras model with one output, as
            `keras_modals.augment` takes it. Called for each training, and once before:
            a new model each time, with pretrained layers loaded anew.
        data: `(x, y)`, which each seed splits into training, validation and test
            samples, with every class, or what corresponds to it, in proportion; or a
            dict with `"train"`, `"validation"` and `"test"`, each such a pair; or
            `fn(seed)` that returns one. `x` is an array or a structure of them, `y` an
            array. Strings, for a KerasHub task, may be a list. An array `"test_id"`
            beside them says by what to know test samples, where their inputs are scaled
            or encoded anew for each seed.
        methods: Names, of `keras_modals.evaluation.METHODS`; or a dict from names to
            `Method`s or to functions `fn(trial, model)` that train a model and return
            the one to test. `"none"` is what all others are compared with, and is
            added where it is missing. Defaults to a few simple alternatives, the
            defaults (`"latent mixing"`), a few recipes chosen by validation
            (`"latent mixing tuned"`), and the search in one training.
        seeds: Integer, how many, or a sequence of integers. Defaults to `5`, which
            tells large differences; what it calls noise may take more.
        epochs, batch_size: Of each training. Default to `30` and `32`.
        layer: Where to augment, a string as in `keras_modals.augment`. Defaults to
            `None`: where each method would, latent mixing at the places that are found,
            single operations at the head's input.
        labels: What `y` is, such as `keras_modals.Values()` for a regression. Defaults
            to what the model's output and loss tell, as in `keras_modals.augment`.
        metric: What is compared, of the scores that labels of this kind have; all are
            stored. Defaults to `None`, the first of them.

            - One class: `"accuracy"`, `"balanced_accuracy"`, `"macro_f1"`,
              `"log_loss"`, `"calibration_error"`.
            - A regression: `"r2"`, `"rmse"`, `"mae"`, of several columns the means.
            - Several labels: `"average_precision"` and `"macro_f1"`, means over labels,
              `"micro_f1"`, `"accuracy"`, the share of labels that are right,
              `"log_loss"`.
            - A label for each position: `"mean_iou"`, and those of one class, or of
              several labels, over all positions that have a label.

        monitor: Name of the log by whose best epoch a training's weights are restored,
            or `None` to keep the last. Less is better where the name ends with `"loss"`
            or `"error"`, or is that of an error in Keras, as `"val_mae"`. Defaults to
            `"auto"`: of classes the accuracy that the model is compiled with, such as
            `"val_accuracy"`, if any, else `"val_loss"`, whatever `metric` is.
        splits: The shares of validation and test samples. Only for `(x, y)`.
        unlabeled: Samples without labels, an array or a structure of them like `x`, for
            the methods that learn from such: `"latent mixing, unlabeled"`,
            `"interpolation consistency"`, `"pseudo-labels"`, `"mean teacher"`. With
            their true labels, a tuple `(x, y)`, there is `"all labels"` as well: what
            it would gain to label them. A dict of `data` has them as `"unlabeled"`.
        dataset: String, a name for the data. Defaults to `"data"`.
        path: Path of a CSV file to which each run is written as it finishes. A second
            call goes on where the first stopped, and several data sets may share one
            file. Runs with other data, `epochs` or the like need another `path` or
            `dataset`, and so do those of another backend; that of a changed `build_fn`,
            method, `fn(seed)` or argument that is an object is up to you.
            Defaults to `None`, in memory.
        verbose: `"auto"`, 0, 1 or 2: silent, a progress bar with the time left, or a
            line for each run. `"auto"` is 1.
        **fit_arguments: Further arguments of `fit`, such as `callbacks`.

    Where all seeds have the same test samples, what is said is about these samples.
    Where each has its own, which share samples, the test is corrected for it. Settle
    the number of seeds before you look: to add some until a difference is no noise
    finds more than there is. What a first call makes likely, a second one with seeds of
    its own can confirm.

    Returns:
        A `Comparison`. Printed, it is a table in words; `summary()` and
        `to_dataframe()` are pandas DataFrames.

    Reference:

    - [Nadeau and Bengio, 2003](https://doi.org/10.1023/A:1024068626366)

    Example:

    >>> def build():
    ...     model = keras.Sequential([
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(16, "relu"),
    ...         keras.layers.Dense(3, "softmax"),
    ...     ])
    ...     loss = "sparse_categorical_crossentropy"
    ...     model.compile("adam", loss, metrics=["accuracy"])
    ...     return model
    >>> x, y = np.random.normal(size=(90, 8)), np.arange(90) % 3
    >>> result = keras_modals.compare(
    ...     build, (x, y), ["none", "latent mixing"], seeds=2, epochs=2, verbose=0
    ... )
    >>> result.summary().index.get_level_values("method").tolist()
    ['none', 'latent mixing']
    """
    check_build_fn(build_fn)
    methods = resolve(methods)
    seeds = check_seeds(seeds)
    check_choice("verbose", verbose, ("auto", 0, 1, 2))
    epochs = check_integer("epochs", epochs, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    for argument, value in (("layer", layer), ("monitor", monitor)):
        if value is not None:
            check_name(argument, value)
    check_name("dataset", dataset)
    data = check_data(data, splits)
    check_fit_arguments(fit_arguments, data)
    starts: dict[int, int] = {}
    model = _build(build_fn, seeds[0], starts)
    if layer not in (None, *WORDS):
        # Refused before anything is trained.
        model.get_layer(layer)
    kind = kind_of_model(model, labels)
    metric = kind.metric if metric is None else metric
    check_choice("metric", metric, tuple(kind.scores))
    if monitor == "auto":
        accuracy = accuracy_log(model) if kind.has_accuracy else None
        monitor = f"val_{accuracy or 'loss'}"
    load = make_loader(data, splits, kind, unlabeled, strings=takes_strings(model))
    settings = {"epochs": epochs, "batch_size": batch_size}
    settings |= {"layer": layer, "monitor": monitor}
    settings["backend"] = keras.backend.backend()
    if labels is not None:
        settings["labels"] = repr(labels)
    if not is_split(data):
        settings["splits"] = [float(share) for share in splits]
    if not callable(data):
        settings["data"] = checksum(data)
    if unlabeled is not None:
        settings["unlabeled"] = checksum(unlabeled)
    if fit_arguments:
        settings["fit"] = {name: _plain(each) for name, each in fit_arguments.items()}
    file = RunFile(path)
    number = _check_settings(file, dataset, settings)
    finished = file.finished(dataset, _needed(metric))
    todo = [
        (seed, name, setting)
        for seed in seeds
        for name, method in methods.items()
        for setting in method.grid
        if (run_name(name, setting), seed) not in finished
    ]
    progress = Progress(len(todo), verbose)
    skipped: dict[str, str] = {}
    ran = {run.partition("(")[0] for run, _ in finished}
    loaded: Any = (None, None)
    for seed, name, setting in todo:
        if name in skipped and name not in ran:
            progress.advance(f"{name}: {skipped[name]}")
            continue
        if loaded[0] != seed:
            loaded = seed, load(seed)
        parts = loaded[1]
        trial = Trial(
            train=parts["train"],
            validation=parts["validation"],
            kind=kind,
            seed=seed,
            epochs=epochs,
            batch_size=batch_size,
            layer=layer,
            monitor=monitor,
            fit_arguments=fit_arguments,
            unlabeled=parts.get(UNLABELED),
        )
        model = _build(build_fn, seed, starts)
        where = f" with seed {seed}" if name in ran else ""
        try:
            with backend.many_models(), knows_own_objects(model):
                values = _run(methods[name], setting, model, trial, parts)
        except NotApplicableError as error:
            skipped[name] = f"not applicable{where}, {error}"
            progress.advance(f"{name}: {skipped[name]}")
            continue
        except Exception as error:
            if name == BASELINE:
                raise
            # Hours of the other methods' runs shall not be lost by it.
            reason = str(error).strip().split("\n")[0]
            skipped[name] = f"failed{where}, {type(error).__name__}: {reason}"
            warnings.warn(f"Method '{name}' {skipped[name]}", stacklevel=2)
            progress.advance(f"{name}: {skipped[name]}")
            continue
        ran.add(name)
        values["train", SETTINGS] = number
        file.append(dataset, run_name(name, setting), seed, values)
        score = values["validation", metric]
        progress.advance(f"{name}, seed {seed}: validation {metric} {score:.4f}")
    finished = file.finished(dataset, _needed(metric))
    runs = _asked_for(file.read(), dataset, finished, methods, seeds)
    return Comparison(runs, metric, skipped)


def _needed(metric):
    """What a run has that counts: these scores and, written last, its settings."""
    return ("validation", metric), ("test", metric), ("train", SETTINGS)


def _asked_for(runs, dataset, finished, methods, seeds):
    """Of the runs in a file, those of these methods and seeds whose whole grid ran, in
    their order."""
    wanted = [
        [(run_name(name, setting), seed) for setting in method.grid]
        for seed in seeds
        for name, method in methods.items()
    ]
    complete = [run for grid in wanted if finished.issuperset(grid) for run in grid]
    positions = {run: position for position, run in enumerate(complete)}
    runs = runs[runs["dataset"] == dataset]
    pairs = zip(runs["method"], runs["seed"], strict=True)
    order = np.array([positions.get(pair, -1) for pair in pairs], dtype=int)
    chosen = np.argsort(order, kind="stable")
    return runs.iloc[chosen[order[chosen] >= 0]]


def _build(build_fn, seed, starts):
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


def _plain(value):
    """A setting of `fit` as JSON; of objects, the kind."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    is_plain = isinstance(value, bool | int | float | str | None)
    return value if is_plain else type(value).__name__


def _run(method, setting, model, trial, parts):
    """Scores of one training, by split and metric, and the seconds that it took."""
    start = time.perf_counter()
    trained = method.train(trial, model, **setting)
    values = {("train", "seconds"): time.perf_counter() - start}
    for split in ("validation", "test"):
        x, y = parts[split]
        outputs = trained.predict(x, batch_size=500, verbose=0)
        scores = trial.kind.all_scores(y, outputs, takes_logits(model.loss))
        values |= {(split, name): score for name, score in scores.items()}
    values["test", TEST_TO_TRAIN] = len(parts["test"][1]) / len(parts["train"][1])
    values["test", TEST_SAMPLES] = checksum(parts.get("test_id", parts["test"]))
    return values


def _check_settings(file, dataset, settings):
    """A number for the settings; refuses a file with runs of others."""
    number = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
    runs = file.read()
    runs = runs[(runs["dataset"] == dataset) & (runs["metric"] == SETTINGS)]
    others = runs[runs["value"] != number]
    if 0 < len(others) < len(runs):
        method, seed = others.iloc[0][["method", "seed"]]
        raise ValueError(
            f"In the file, one run of '{dataset}' has a damaged value of its settings, "
            "since others have those of this call. Delete the line, after which "
            f"`compare` trains the run again. Received: path={file.path}, with the "
            f"line '{dataset},{method},{seed},train,{SETTINGS},...'"
        )
    if len(others):
        raise ValueError(
            f"The file has runs of '{dataset}' that were trained with other settings. "
            "Use another `path`, or another name for `dataset`. "
            f"Received: path={file.path}, settings={settings}"
        )
    return number
