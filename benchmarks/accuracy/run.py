"""Runs methods, data sets and seeds in several processes."""

import itertools
import multiprocessing
import time

from benchmarks.accuracy.problems import problem


def run_all(study, datasets, methods, seeds, workers, path):
    """Runs what the file lacks, seed by seed, and says how long it will take."""
    for name in datasets:
        # What cannot be loaded is said before hours of training.
        problem(name)
    tasks = [
        (study, name, seed, methods, path)
        for seed, name in itertools.product(seeds, datasets)
    ]
    start = time.monotonic()
    # TensorFlow keeps some memory of every model, a process of its own does not.
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, maxtasksperchild=1) as pool:
        for done, (name, seed) in enumerate(pool.imap_unordered(run_one, tasks), 1):
            left = (time.monotonic() - start) / done * (len(tasks) - done) / 60
            print(
                f"{done}/{len(tasks)} {name}, seed {seed}, {left:.0f} min left",
                flush=True,
            )


def run_one(task):
    """Methods on one data set with one seed."""
    import keras_modals
    from benchmarks.accuracy.studies import STUDIES

    study, name, seed, methods, path = task
    study = STUDIES[study]
    made = problem(name, study.tuning)
    keras_modals.compare(
        made.build_fn,
        made.load,
        {method: study.methods[method] for method in methods},
        seeds=[seed],
        epochs=made.epochs,
        batch_size=made.batch_size,
        metric=study.metric,
        dataset=name,
        path=path,
        verbose=0,
    )
    return name, seed
