"""Time series: recognizes seven shoulder exercises from smartwatch data.

    python examples/time_series.py

Uses windows of 2.6 seconds with six channels of motion. Each person is in one part
only, so the model is tested on people it has not seen. Trains a 1D CNN in several ways
with `keras_modals.compare`, prints a table and plots it to `time_series.png`.
"""

import keras
import numpy as np
from keras import layers
from seglearn.datasets import load_watch

import keras_modals
from keras_modals.plots import plot_comparison

METHODS = ("none", "dropout", "manifold mixup", "latent mixing", "one-run search")
LENGTH = 128


def load(seed, train_size=140):
    watch = load_watch()
    x, y, people = [], [], []
    for series, label, person in zip(
        watch["X"], watch["y"], watch["subject"], strict=True
    ):
        count = len(series) // LENGTH
        x += list(np.reshape(series[: count * LENGTH], (count, LENGTH, -1)))
        y += [label] * count
        people += [person] * count
    x, y = np.array(x, "float32"), np.array(y, "int32")
    x = (x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))
    rng = np.random.default_rng(seed)
    groups = np.split(rng.permutation(np.unique(people)), [4, 7])
    parts = {}
    for name, group in zip(("train", "validation", "test"), groups, strict=True):
        chosen = rng.permutation(np.flatnonzero(np.isin(people, group)))
        chosen = chosen[:train_size] if name != "test" else chosen
        parts[name] = x[chosen], y[chosen]
    return parts


def build():
    inputs = keras.Input((LENGTH, 6))
    hidden = inputs
    for filters in (32, 64):
        hidden = layers.Conv1D(filters, 5, activation="relu", padding="same")(hidden)
        hidden = layers.MaxPooling1D()(hidden)
    latents = layers.Dense(48)(layers.GlobalAveragePooling1D()(hidden))
    outputs = layers.Dense(7, "softmax")(latents)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=30):
    result = keras_modals.compare(
        build, load, methods, seeds, epochs=epochs, batch_size=20, dataset="watch"
    )
    print(result)
    plot_comparison(result, "watch").figure.savefig("time_series.png")


if __name__ == "__main__":
    main()
