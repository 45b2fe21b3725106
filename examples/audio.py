"""Audio: recognizes nine speakers by one vowel, from eight recordings of each.

    python examples/audio.py

Each recording of the Japanese vowels is a sequence of frames with twelve cepstral
coefficients. Trains a 1D CNN in several ways with `keras_modals.compare`, prints a
table, and plots the spread of the classes during training to `audio.png`.
"""

import keras
import numpy as np
from keras import layers
from sktime.datasets import load_japanese_vowels

import keras_modals
from keras_modals.evaluation import LatentMonitor
from keras_modals.plots import plot_classes

METHODS = ("none", "dropout", "manifold mixup", "latent mixing", "one-run search")
FRAMES = 29


def read(part):
    """Returns the recordings, padded with silence, and the speakers."""
    table, speakers = load_japanese_vowels(split=part, return_X_y=True)
    x = np.zeros((len(table), FRAMES, table.shape[1]), "float32")
    for recording, row in zip(x, table.to_numpy(), strict=True):
        recording[: len(row[0])] = np.stack(row, axis=-1)
    return x, speakers.astype("int32") - 1


def load(seed, per_speaker=8):
    x, y = read("train")
    order = np.random.default_rng(seed).permutation(len(y))
    # The index of each recording among those of its speaker.
    number = np.array([np.sum(y[order[:i]] == y[j]) for i, j in enumerate(order)])
    train = order[number < per_speaker]
    validation = order[number >= per_speaker]
    return {
        "train": (x[train], y[train]),
        "validation": (x[validation], y[validation]),
        "test": read("test"),
    }


def build():
    inputs = keras.Input((FRAMES, 12))
    hidden = layers.Conv1D(64, 3, activation="relu")(inputs)
    hidden = layers.Conv1D(64, 3, activation="relu")(layers.MaxPooling1D()(hidden))
    latents = layers.Dense(48)(layers.GlobalAveragePooling1D()(hidden))
    outputs = layers.Dense(9, "softmax")(latents)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=50):
    result = keras_modals.compare(
        build, load, methods, seeds, epochs=epochs, batch_size=12, dataset="speakers"
    )
    print(result)

    parts = load(seed=0)
    monitor = LatentMonitor(*parts["validation"])
    model = keras_modals.augment(build())
    model.fit(
        *parts["train"], batch_size=12, epochs=epochs, callbacks=[monitor], verbose=0
    )
    plot_classes(monitor, "spread").figure.savefig("audio.png")


if __name__ == "__main__":
    main()
