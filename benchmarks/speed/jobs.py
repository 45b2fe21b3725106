"""Times `compare` in one process and in two, in turn.

    [KERAS_BACKEND=torch] python -m benchmarks.speed.jobs [--rounds 3] [--seeds 5]

The models are small. The time to start processes counts, as it would for a user.
"""

import argparse
import os
import time

# One thread per process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_modals


def build():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    x, y = load_digits(return_X_y=True)
    data = x.astype("float32") / 16, y
    seconds: dict[int, list] = {1: [], 2: []}
    for _ in range(arguments.rounds):
        for n_jobs, found in seconds.items():
            start = time.perf_counter()
            keras_modals.compare(
                build, data, seeds=arguments.seeds, n_jobs=n_jobs, verbose=0
            )
            found.append(time.perf_counter() - start)
            # Make each call start its own processes.
            _end_processes()
    one, two = (np.median(found) for found in seconds.values())
    print(f"one process {one:.0f} s, two {two:.0f} s, ratio {two / one:.2f}")


def _end_processes():
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


if __name__ == "__main__":
    main()
