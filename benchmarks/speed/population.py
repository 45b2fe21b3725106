"""Measures the cost of a population-based search beyond its training.

    python -m benchmarks.speed.population [--population 8] [--generations 8] [...]

Prints, for one search in this process: the ratio of its time to the time that its
members spend in `fit`, without the first trial, which compiles; for comparison, the
time of one long `fit` with the same number of epochs; the number of traces of the
training step; the maximum number of checkpoints on disk; and the growth of resident
memory from the tenth trial to the last.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np

import keras_modals
from benchmarks import models
from keras_modals import tuners

CLASSES = 10


def build(hp):
    model = keras_modals.augment(
        models.mlp((64,), CLASSES),
        num_classes=CLASSES,
        policy=tuners.policy_space(hp),
        dropout=hp.Float("dropout", 0.0, 0.7, default=0.0),
    )
    model.compile(
        keras.optimizers.Adam(
            hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        triplet_weight=hp.Float("triplet_weight", 0.0, 0.5, default=0.1),
    )
    return model


def resident_mebibytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Meter(tuners.PopulationBasedTuner):
    """Records traces, checkpoints and memory after every trial."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.traces, self.checkpoint_counts, self.memory = 0, [], []
        self.fits, self.ends = [], []
        build, fit = self.hypermodel.build, self.hypermodel.fit

        def counted(hp):
            model = build(hp)
            step = model.train_step

            def train_step(*args):
                self.traces += 1
                return step(*args)

            model.train_step = train_step
            return model

        def timed(*args, **kwargs):
            start = time.perf_counter()
            history = fit(*args, **kwargs)
            self.fits.append(time.perf_counter() - start)
            return history

        self.hypermodel.build, self.hypermodel.fit = counted, timed

    def on_trial_end(self, trial):
        found = list(pathlib.Path(self.project_dir).glob("trial_*/*.weights.h5"))
        self.checkpoint_counts.append(len(found))
        super().on_trial_end(trial)
        self.memory.append(resident_mebibytes())
        self.ends.append(time.perf_counter())


def run_search(arguments, data, folder):
    tuner = Meter(
        build,
        population_size=arguments.population,
        generations=arguments.generations,
        epochs_per_generation=arguments.epochs,
        directory=folder,
        overwrite=True,
        seed=0,
    )
    tuner.search(**data, batch_size=50, verbose=0)
    return tuner


def run_training(arguments, data):
    model = build(keras_tuner.HyperParameters())
    model.fit(**data, batch_size=50, verbose=0)  # Compiles.
    start = time.perf_counter()
    epochs = arguments.generations * arguments.epochs
    model.fit(**data, batch_size=50, epochs=epochs, verbose=0)
    return (time.perf_counter() - start) / arguments.generations


def time_search(arguments, data):
    """Returns the tuner, and its milliseconds per trial: in total and in `fit`."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = run_search(arguments, data, folder)
    trials = len(tuner.ends) - 1
    whole = (tuner.ends[-1] - tuner.ends[0]) / trials
    fit = sum(tuner.fits[1:]) / trials
    return tuner, 1e3 * whole, 1e3 * fit


def rows(quick):
    arguments = make_parser().parse_args(["--generations", "2"] if quick else [])
    _, whole, fit = time_search(arguments, make_data(arguments.samples))
    yield "population search over its members' training", f"{whole / fit:.2f}"


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3, help="per generation")
    parser.add_argument("--samples", type=int, default=2000)
    return parser


def make_data(samples):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, 2 * samples)
    x = rng.normal(size=(len(y), 64)).astype("float32")
    valid = x[samples:], y[samples:]
    return {"x": x[:samples], "y": y[:samples], "validation_data": valid}


def main():
    arguments = make_parser().parse_args()
    data = make_data(arguments.samples)
    tuner, whole, fit = time_search(arguments, data)
    print(
        f"per trial of {arguments.epochs} epochs: {whole:.0f} ms, in fit {fit:.0f} ms: "
        f"ratio {whole / fit:.2f}"
    )
    trained = run_training(arguments, data) * 1e3
    print(f"the same number of epochs in one fit: {trained:.0f} ms")
    print(f"traces of the training step: {tuner.traces}")
    print(
        f"most checkpoints: {max(tuner.checkpoint_counts)} "
        f"for a population of {arguments.population}"
    )
    growth = tuner.memory[-1] / tuner.memory[9] - 1
    print(
        f"resident memory: {tuner.memory[9]:.0f} MiB after 10 trials, "
        f"{tuner.memory[-1]:.0f} MiB after {len(tuner.memory)} ({growth:+.1%})"
    )


if __name__ == "__main__":
    main()
