import collections
import inspect
from collections.abc import Mapping

import numpy as np

from keras_modals._src.arguments import check_choice, check_integer, check_known
from keras_modals._src.evaluation.best_model import BestModel
from keras_modals._src.evaluation.checks import (
    by_number,
    check_build_fn,
    check_fit_arguments,
    check_name,
    check_seeds,
    resolve,
)
from keras_modals._src.evaluation.class_names import with_numbers
from keras_modals._src.evaluation.comparison import Comparison
from keras_modals._src.evaluation.compiled import accuracy_log
from keras_modals._src.evaluation.data_checks import check_data
from keras_modals._src.evaluation.experiment import Experiment, Task, build
from keras_modals._src.evaluation.jobs import check_jobs, outcomes
from keras_modals._src.evaluation.kinds import kind_of_model
from keras_modals._src.evaluation.progress import Progress
from keras_modals._src.evaluation.run_queue import RunQueue
from keras_modals._src.evaluation.runs import SETTINGS, TEST_SAMPLES, RunFile
from keras_modals._src.evaluation.settings import check_settings, settings_of
from keras_modals._src.evaluation.splits import make_loader, takes_strings
from keras_modals._src.models.selected_places import WORDS

DEFAULT_METHODS = (
    "none",
    "label smoothing",
    "mixup",
    "latent mixing",
    "latent mixing tuned",
)


def compare(
    build_fn,
    data,
    methods=DEFAULT_METHODS,
    seeds=5,
    *,
    epochs=30,
    batch_size=32,
    n_jobs=None,
    layer=None,
    labels=None,
    label_output=None,
    metric=None,
    monitor="auto",
    splits=(0.2, 0.2),
    unlabeled=None,
    dataset="data",
    path=None,
    verbose="auto",
    **fit_arguments,
):
    """Compares ways to train a model, and tests which differences are significant.

    With each seed, every method trains a new model from `build_fn` on the same samples,
    from the same initial weights. A method with several settings tries all of them and
    keeps the one that is best on validation samples. Test samples are used for the
    final scores only. Differences are tested with a paired test, corrected for the
    number of methods.

    If all seeds share the same test samples, the conclusions hold for these samples. If
    each seed has its own, these overlap, and the test is corrected for it. Choose the
    number of seeds in advance: adding seeds until a result turns significant inflates
    false positives. To confirm a promising result, make a second call with other seeds.

    Args:
        build_fn: `fn()` that returns a compiled Keras model that
            `keras_modals.augment` accepts. It is called for each training, and before
            the first one. It must return a new model each time, and load pretrained
            layers again.
        data: One of the following:

            - `(x, y)`, which each seed splits into training, validation and test
              samples, stratified by class or its equivalent for other targets. `x` is
              an array or a structure of arrays, and `y` is an array. Class names are
              numbered in sorted order, which the result has as `class_names`. Strings,
              for a KerasHub task, may be a list.
            - A dict with the keys `"train"`, `"validation"` and `"test"`, each with
              such a pair. An optional array `"test_id"` identifies the test samples.
              Pass it if their inputs differ between seeds, for example because they are
              scaled or encoded again for each seed.
            - `fn(seed)` that returns such a dict. Class names are those of the first
              seed.

            Instead of a pair, you can pass a dataset of batches that `fit` accepts: a
            `tf.data.Dataset`, a `keras.utils.PyDataset` or a PyTorch `DataLoader`. It
            is not read into memory. `compare` can also split a `DataLoader` of a
            map-style dataset, and a `PyDataset`, by its batches.
        methods: List of names in `keras_modals.evaluation.METHODS`; or a dict from
            names to `Method`s or functions `fn(trial, model)` that train a model and
            return the model to test. The baseline `"none"` is added if it is missing.
            Defaults to `"label smoothing"`, `"mixup"`, the package's defaults
            (`"latent mixing"`), and a few recipes chosen by validation
            (`"latent mixing tuned"`): 12 trainings in all for each seed.
        seeds: Integer, the number of seeds, or a sequence of integers. Defaults to `5`,
            which is enough for large differences. Smaller ones may need more.
        epochs: Integer, the number of epochs of each training. Defaults to `30`.
        batch_size: Integer, as in `fit`. Datasets keep their own batches. Defaults to
            `32`.
        n_jobs: Integer, the number of trainings that run in parallel, each in its own
            process; `-1` uses all cores. Defaults to `None`: one training at a time, in
            this process, or the number set by `joblib.parallel_config`. With joblib's
            backends for Ray and Dask, the processes can run on a cluster. `build_fn`
            and all other arguments are sent to the processes. Create anything that
            cannot be sent, such as a `tf.data.Dataset`, in a function of the seed.
        layer: String, where to augment, as in `keras_modals.augment`. Defaults to
            `None`: each method uses its own place. Latent mixing finds its places;
            single operations use the head's input.
        labels: The kind of labels in `y`, such as `keras_modals.Values()` for a
            regression. Defaults to what the model's output and loss tell, as in
            `keras_modals.augment`.
        label_output: String, the name of the output to compare if the model has several
            outputs. Targets are then in a dict or list, as in `fit`. The other outputs
            are also trained.
        metric: String, the score to compare. All scores are stored. Defaults to `None`,
            the first score for the kind of labels:

            - One class: `"accuracy"`, `"balanced_accuracy"`, `"macro_f1"`,
              `"log_loss"`, `"calibration_error"`.
            - A regression: `"r2"`, `"rmse"`, `"mae"`, averaged over columns.
            - Several labels: `"average_precision"` and `"macro_f1"`, averaged over
              labels, `"micro_f1"`, `"accuracy"`, the share of correct labels,
              `"log_loss"`.
            - A label for each position: `"mean_iou"`, and the scores for one class or
              for several labels, over all positions with a label.

        monitor: String, the log that determines the best epoch, whose weights are
            restored; or `None` to keep the last weights. Lower is better if the name
            ends with `"loss"` or `"error"`, or names an error metric of Keras, such as
            `"val_mae"`. Defaults to `"auto"`: for classes, the accuracy that the model
            is compiled with, such as `"val_accuracy"`, if any; otherwise `"val_loss"`.
            It does not depend on `metric`.
        splits: Pair of floats, the shares of validation and test samples. Used only if
            `compare` splits the data.
        unlabeled: Samples without labels, an array or a structure of arrays like `x`,
            for the methods that learn from them: `"latent mixing, unlabeled"`,
            `"interpolation consistency"`, `"pseudo-labels"`, `"mean teacher"`. A tuple
            `(x, y)` with the true labels also allows `"all labels"`, which measures the
            gain from labeling them, with the same number of steps. In a dict of
            `data`, use the key `"unlabeled"`.
        dataset: String, a name for the data. Defaults to `"data"`.
        path: Path of a CSV file to which each run is written as it finishes. A repeated
            call resumes from this file. Several data sets may share one file. Runs with
            other data, `epochs` and the like, or another backend, need another `path`
            or `dataset`. Changes to `build_fn`, a method, `fn(seed)` or an object
            passed as an argument are not detected; use another `path` or `dataset` for
            them, too. Defaults to `None`, which keeps the runs in memory.
        verbose: `"auto"`, 0, 1 or 2. 0 is silent; 1 shows one line with the remaining
            time, the running methods and the leading one; 2 prints a line for each run.
            `"auto"` is 1. The number of trainings and the estimated time are printed
            before the first training; the time only for arrays and for `fn(seed)`,
            since reading a dataset may change its order.
        **fit_arguments: Further arguments of `fit`. `callbacks` may be a function
            `fn(run, seed)` that returns the callbacks for one training, such as
            `lambda run, seed: [keras.callbacks.TensorBoard(f"logs/{run}/{seed}")]`.

    Returns:
        A `Comparison`. `print` shows it as a table; `summary()` and `to_dataframe()`
        return pandas DataFrames; `best_model()` returns a trained model of the method
        that is best on validation samples.

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
    n_jobs = check_jobs(n_jobs)
    epochs = check_integer("epochs", epochs, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    for argument, value in (("layer", layer), ("monitor", monitor)):
        if value is not None:
            check_name(argument, value)
    check_name("dataset", dataset)
    data = check_data(data, splits)
    data, class_names = with_numbers(data, seeds[0])
    starts: dict[int, int] = {}
    model = build(build_fn, seeds[0], starts)
    parameters = inspect.signature(model.fit).parameters
    if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
        check_known(compare, fit_arguments, parameters, "the model's `fit`")
    check_fit_arguments(fit_arguments, data)
    if isinstance(fit_arguments.get("class_weight"), Mapping):
        weights = by_number(fit_arguments["class_weight"], class_names)
        fit_arguments["class_weight"] = weights
    if layer not in (None, *WORDS):
        # Refuse an unknown layer before anything is trained.
        model.get_layer(layer)
    kind = kind_of_model(model, labels, label_output)
    metric = kind.metric if metric is None else metric
    check_choice("metric", metric, tuple(kind.scores))
    if monitor == "auto":
        output = kind.output
        accuracy = accuracy_log(model, output) if kind.has_accuracy else None
        monitor = f"val_{output.log(accuracy or 'loss')}"
    tasks = [
        Task(seed, name, setting)
        for seed in seeds
        for name, method in methods.items()
        for setting in method.grid
    ]
    experiment = Experiment(
        build_fn=build_fn,
        methods=methods,
        tasks=tasks,
        load=make_loader(data, splits, kind, unlabeled, strings=takes_strings(model)),
        kind=kind,
        epochs=epochs,
        batch_size=batch_size,
        layer=layer,
        monitor=monitor,
        fit_arguments=fit_arguments,
        shares_datasets=not callable(data),
        starts=starts,
    )
    settings = settings_of(experiment, data, splits, labels, unlabeled, class_names)
    file = RunFile(path)
    number = check_settings(file, dataset, settings)
    finished = file.finished(dataset, _needed(metric))
    progress = Progress(experiment, metric, n_jobs, verbose)
    tests = file.values(dataset, "test", TEST_SAMPLES, finished)
    queue = RunQueue(experiment, finished, tests, progress)
    for index, outcome in outcomes(experiment, queue.started(), n_jobs):
        for task in queue.ended(index, outcome):
            values = {**outcome.values, ("train", SETTINGS): number}
            file.append(dataset, task.run, task.seed, values)
    finished = file.finished(dataset, _needed(metric))
    table = _asked_for(file.read(), dataset, finished, tasks, methods)
    best = BestModel(experiment, path, number)
    return Comparison(table, metric, queue.skipped, train=best, class_names=class_names)


def _needed(metric):
    """Entries of a complete run: these scores and, written last, its settings."""
    return ("validation", metric), ("test", metric), ("train", SETTINGS)


def _asked_for(runs, dataset, finished, tasks, methods):
    """Selects the runs of these tasks from a file, in the order of the tasks.

    Leaves out a method with a seed for which some of its settings are missing.
    """
    done = [task for task in tasks if (task.run, task.seed) in finished]
    counts = collections.Counter((task.seed, task.method) for task in done)
    complete = [
        (task.run, task.seed)
        for task in done
        if counts[task.seed, task.method] == len(methods[task.method].grid)
    ]
    positions = {run: position for position, run in enumerate(complete)}
    runs = runs[runs["dataset"] == dataset]
    pairs = zip(runs["method"], runs["seed"], strict=True)
    order = np.array([positions.get(pair, -1) for pair in pairs], dtype=int)
    chosen = np.argsort(order, kind="stable")
    return runs.iloc[chosen[order[chosen] >= 0]]
