"""Traces one batch: how often a training step moves from file to file.

`python -m benchmarks.path` counts the calls into the package in one eager step, their
files, and how often a call is in a different file than the previous one. With
`--calls`, it prints all calls in order.
"""

import argparse
import itertools
import os
import pathlib
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import keras_modals

ROOT = pathlib.Path(keras_modals.__file__).parent
WAYS = {
    "defaults": ({}, {}),
    "the whole method": (
        {"policy": keras_modals.Policy.constant(0.5, 0.5)},
        {"triplet_weight": 0.1, "prior_weight": 0.01},
    ),
}


def calls_of_a_step(augment, compile):
    """Returns a (file, function) pair for each call, in order."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dense(6),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model = keras_modals.augment(model, **augment)
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", loss, metrics=["accuracy"], run_eagerly=True, **compile)
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    y = np.arange(32) % 3
    for _ in range(2):
        model.train_on_batch(x, y)
    calls = []

    def profile(frame, event, argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(ROOT)):
            name = str(pathlib.Path(path).relative_to(ROOT))
            calls.append((name, frame.f_code.co_name))

    sys.setprofile(profile)
    try:
        model.train_on_batch(x, y)
    finally:
        sys.setprofile(None)
    return calls


def changes(calls):
    files = [file for file, _ in calls]
    return sum(a != b for a, b in itertools.pairwise(files))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", action="store_true", help="print all calls")
    arguments = parser.parse_args()
    for way, settings in WAYS.items():
        calls = calls_of_a_step(*settings)
        files = {file for file, _ in calls}
        print(
            f"{way}: {len(calls)} calls, {len(files)} files, {changes(calls)} changes"
        )
        if arguments.calls:
            for file, function in calls:
                print(f"  {file}: {function}")


if __name__ == "__main__":
    main()
