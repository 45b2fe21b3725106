"""Runs methods, data sets and seeds in several processes."""

import itertools
import multiprocessing
import time

#: Text with its whole training set takes minutes a run: `--datasets` asks for it.
DATASETS = (
    "iris",
    "breast",
    "digits",
    "abalone",
    "htru2",
    "arcene",
    "watch",
    "fsdd",
    "mnist",
    "cifar10",
    "trec6",
    "sst2",
    "trec6_sentences",
    "sst2_sentences",
)


def run_all(datasets, methods, seeds, workers, path):
    """Runs what the file lacks, seed by seed, and says how long it will take."""
    tasks = [
        (name, seed, methods, path) for seed, name in itertools.product(seeds, datasets)
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
    """All methods on one data set, `name` or `name:share`, with one seed."""
    import keras_modals
    from benchmarks.accuracy.methods import ALL
    from benchmarks.accuracy.problems import problem

    name, seed, methods, path = task
    base, _, share = name.partition(":")
    made = problem(base, float(share or 1))
    keras_modals.compare(
        made.build_fn,
        made.load,
        {method: ALL[method] for method in methods or ALL},
        seeds=[seed],
        epochs=made.epochs,
        batch_size=made.batch_size,
        dataset=name,
        path=path,
        verbose=0,
    )
    return name, seed
