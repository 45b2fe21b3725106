"""Searches for a policy in one training, and compares the result.

    python examples/one_run_search.py [--seeds 5] [--epochs 60]

Uses handwritten digits from scikit-learn as small images, with 20 labeled samples per
class, and a small convolutional network. For each seed, with the same 200 validation
samples, it trains a plain model, `keras_modals.augment` with its defaults, and
`SharedEncoderSearch`, a population of eight policies and heads on one encoder. Prints a
table of test accuracies and times, and the policies of the last search. Plots their
magnitudes to `one_run_search.png`.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_modals
from keras_modals.plots import plot_schedule


def load(seed):
    """Returns 200 training and 200 validation samples, which depend on the seed, and
    800 test samples, the same for all seeds."""
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16).astype("float32")
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=800, stratify=y, random_state=0
    )
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, train_size=200, test_size=200, stratify=y, random_state=seed
    )
    return (x_train, y_train), (x_val, y_val), (x_test, y_test)


def plain_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(64),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(way, seed, epochs):
    """Returns the test accuracy in %, the seconds, and the trained model or search."""
    (x, y), validation, test = load(seed)
    keras.utils.set_random_seed(seed)
    model = plain_model()
    if way == "default policy":
        model = keras_modals.augment(model)
    elif way == "one-run search":
        model = keras_modals.SharedEncoderSearch(model, seed=seed)
    start = time.perf_counter()
    model.fit(
        x,
        y,
        validation_data=validation,
        validation_batch_size=200,
        batch_size=50,
        epochs=epochs,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    best = model.best_model() if way == "one-run search" else model
    accuracy = best.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
    return 100 * accuracy, seconds, model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()

    results = {"plain": [], "default policy": [], "one-run search": []}
    for seed in range(arguments.seeds):
        for way, runs in results.items():
            *numbers, model = train(way, seed, arguments.epochs)
            runs.append(numbers)
            print(f"seed {seed}, {way}: {numbers[0]:.1f}%", flush=True)

    print(f"\nTest accuracy, %, {arguments.seeds} seeds: mean, spread, change vs plain")
    plain = np.array(results["plain"])
    for way, runs in results.items():
        accuracies, seconds = np.array(runs).T
        change = accuracies - plain[:, 0]
        # A single seed has no spread.
        spread, error = (
            (np.std(v, ddof=1) if len(v) > 1 else np.nan) for v in (accuracies, change)
        )
        ratio = np.median(seconds / plain[:, 1])
        print(
            f"{way:15} {np.mean(accuracies):5.1f} ± {spread:3.1f}   "
            f"{np.mean(change):+5.1f} ± {error / len(runs) ** 0.5:3.1f} (paired)   "
            f"{ratio:.1f} times the time"
        )

    print("\nThe last search:")
    model.results_summary()
    ax = plot_schedule(model.best_schedule(), "magnitude")
    ax.figure.savefig("one_run_search.png")


if __name__ == "__main__":
    main()
