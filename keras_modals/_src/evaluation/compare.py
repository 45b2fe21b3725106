import collections

import numpy as np

from keras_modals._src.arguments import check_choice, check_integer
from keras_modals._src.evaluation.best_model import BestModel
from keras_modals._src.evaluation.checks import (
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
from keras_modals._src.models.augment import WORDS

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
    """Trains a model in several ways, and says which differences are more than noise.

    Every method trains a fresh model of `build_fn` with each seed, on the same samples
    from the same weights; those with settings try each and keep the one that is best on
    validation samples. The test samples only judge. A paired test, corrected for the
    number of methods, tells a difference from noise.

    Args:
        build_fn: `fn()` that returns a compiled Keras model, as
            `keras_modals.augment` takes it. Called for each training, and once before:
            a new model each time, with pretrained layers loaded anew.
        data: `(x, y)`, which each seed splits into training, validation and test
            samples, with every class, or what corresponds to it, in proportion; or a
            dict with `"train"`, `"validation"` and `"test"`, each such a pair; or
            `fn(seed)` that returns one. `x` is an array or a structure of them, `y` an
            array; names of classes are numbered in their sorted order, in which the
            result has them as `class_names`. Strings, for a KerasHub task, may be a
            list. An array `"test_id"` beside them says by what to know test samples,
            where their inputs are scaled or encoded anew for each seed. In place of a
            pair there may be a dataset of batches that `fit` takes, a
            `tf.data.Dataset`, a `keras.utils.PyDataset` or a PyTorch `DataLoader`,
            which is not read into memory. A `DataLoader` of samples with an index, and
            a `PyDataset`, by its batches, can be split as well.
        methods: Names, of `keras_modals.evaluation.METHODS`; or a dict from names to
            `Method`s or to functions `fn(trial, model)` that train a model and return
            the one to test. `"none"` is what all others are compared with, and is
            added where it is missing. Defaults to `"label smoothing"`, `"mixup"`, the
            package's defaults (`"latent mixing"`), and a few recipes chosen by
            validation (`"latent mixing tuned"`): for each seed 12 trainings in all.
        seeds: Integer, how many, or a sequence of integers. Defaults to `5`, which
            tells large differences; what it calls noise may take more.
        epochs, batch_size: Of each training. Default to `30` and `32`. Datasets have
            batches of their own.
        n_jobs: Integer, how many trainings run at once, each in a process; `-1` for as
            many as there are cores. Defaults to `None`: one, in this process, or what a
            `joblib.parallel_config` says, by whose backends Ray and Dask the processes
            may be those of a cluster. `build_fn` and all else is sent to them: what
            cannot be, such as a `tf.data.Dataset`, is made by a function of the seed.
        layer: Where to augment, a string as in `keras_modals.augment`. Defaults to
            `None`: where each method would, latent mixing at the places that are found,
            single operations at the head's input.
        labels: What `y` is, such as `keras_modals.Values()` for a regression. Defaults
            to what the model's output and loss tell, as in `keras_modals.augment`.
        label_output: The name of the output that is compared, where the model has
            several. Targets are then in a dict or list, as `fit` takes them, and the
            others are trained beside it.
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
            it would gain to label them, in as many steps. A dict of `data` has them as
            `"unlabeled"`.
        dataset: String, a name for the data. Defaults to `"data"`.
        path: Path of a CSV file to which each run is written as it finishes. A second
            call goes on where the first stopped, and several data sets may share one
            file. Runs with other data, `epochs` or the like need another `path` or
            `dataset`, and so do those of another backend; that of a changed `build_fn`,
            method, `fn(seed)` or argument that is an object is up to you.
            Defaults to `None`, in memory.
        verbose: `"auto"`, 0, 1 or 2: silent; a line with the time left, what runs and
            what is ahead; or a line for each run. `"auto"` is 1. Before the first
            training it says how many there are, and about how long they take.
        **fit_arguments: Further arguments of `fit`. `callbacks` may be a function
            `fn(run, seed)` that makes those of a training, as
            `lambda run, seed: [keras.callbacks.TensorBoard(f"logs/{run}/{seed}")]`.

    Where all seeds have the same test samples, what is said is about these samples.
    Where each has its own, which share samples, the test is corrected for it. Settle
    the number of seeds before you look: to add some until a difference is no noise
    finds more than there is. What a first call makes likely, a second one with seeds of
    its own can confirm.

    Returns:
        A `Comparison`. Printed, it is a table in words; `summary()` and
        `to_dataframe()` are pandas DataFrames; `best_model()` is a trained model of the
        method that is best on validation samples.

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
    data, class_names = with_numbers(data)
    check_fit_arguments(fit_arguments, data)
    starts: dict[int, int] = {}
    model = build(build_fn, seeds[0], starts)
    if layer not in (None, *WORDS):
        # Refused before anything is trained.
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
        starts=starts,
    )
    settings = settings_of(experiment, data, splits, labels, unlabeled)
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
    """What a run has that counts: these scores and, written last, its settings."""
    return ("validation", metric), ("test", metric), ("train", SETTINGS)


def _asked_for(runs, dataset, finished, tasks, methods):
    """Of the runs in a file, those of these tasks, in their order, but for a method and
    seed whose grid did not run whole."""
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
