"""Runs methods, data sets and seeds in several processes."""

import itertools
import multiprocessing
import time

import pandas as pd

from benchmarks.accuracy import stored
from benchmarks.accuracy.problems import problem
from benchmarks.accuracy.studies import STUDIES, metric_of
from keras_modals.evaluation import Comparison


def run_all(study, datasets, methods, seeds, workers, path, results=None):
    """Runs what is missing, seed by seed, and prints an estimate of the time left.

    Args:
        study: Name of a study.
        datasets, methods: Lists of names.
        seeds: Sequence of integers.
        workers: Number of processes.
        path: Path of the file of raw runs, to which runs are added.
        results: Path of the file of results. Runs in it are skipped, and new runs are
            added to it. Defaults to `None`, which uses only the raw runs.
    """
    for name in datasets:
        # Fail before hours of training if a data set cannot be loaded.
        problem(name)
    finished = set() if results is None else stored.finished(results)
    tasks = []
    for seed, name in itertools.product(seeds, datasets):
        missing = [each for each in methods if (name, each, seed) not in finished]
        if missing:
            tasks.append((study, name, seed, missing, path))
    start, about = time.monotonic(), stored.about()
    for done, task in enumerate(run_apart(tasks, workers), 1):
        _, name, seed, *_ = task
        if results is not None:
            stored.add(results, _results(task).assign(**about))
        left = (time.monotonic() - start) / done * (len(tasks) - done) / 60
        print(
            f"{done}/{len(tasks)} {name}, seed {seed}, {left:.0f} min left",
            flush=True,
        )


def run_apart(tasks, workers):
    """Yields tasks as they finish. Each process runs a few, since importing Keras takes
    a while, and TensorFlow keeps some memory of every model."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, maxtasksperchild=8) as pool:
        yield from pool.imap_unordered(run_one, tasks)


def run_one(task):
    """Runs methods on one data set with one seed."""
    import keras_modals

    study, name, seed, methods, path = task
    made = problem(name, STUDIES[study].tuning)
    keras_modals.compare(
        made.build_fn,
        made.load,
        {method: STUDIES[study].methods[method] for method in methods},
        seeds=[seed],
        epochs=made.epochs,
        batch_size=made.batch_size,
        metric=STUDIES[study].metric,
        dataset=name,
        path=path,
        verbose=0,
    )
    return task


def _results(task):
    """Returns the rows of a task, without scores for methods that do not apply."""
    study, name, seed, methods, path = task
    comparison = Comparison.read(path, metric_of(study, name))
    runs = comparison.runs
    is_own = (runs["dataset"] == name) & (runs["seed"] == seed)
    is_own &= runs["method"].str.replace(r"\(.*", "", regex=True).isin(methods)
    rows = pd.DataFrame({"dataset": name, "method": methods, "seed": seed})
    if not is_own.any():
        return rows
    table = stored.chosen(Comparison(runs[is_own], comparison.metric))
    return rows.merge(table, how="left", on=list(stored.KEYS))
