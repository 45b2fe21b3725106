"""Segmentation: cell nuclei in microscopy, and their edges.

    pip install stardist
    python examples/segmentation.py

Uses an annotated image of the 2018 Data Science Bowl, which ships with the package
stardist: 16 tiles of its upper half for training, the lower half for testing. Trains a
small U-Net without and with one more line of code, prints a table, and plots the
predictions to `segmentation.png`.
"""

import importlib.metadata
import itertools

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers
from PIL import Image
from sklearn.metrics import jaccard_score

import keras_modals

SIZE = 64
NAMES = ["background", "nucleus", "edge"]


def read(name):
    package = importlib.metadata.distribution("stardist")
    return np.array(Image.open(package.locate_file(f"stardist/data/images/{name}.tif")))


def load(seed):
    image, cells = read("img2d"), read("mask2d")
    image = np.log1p(image.astype("float32"))
    image = (image - image.mean()) / image.std()
    # The interior of a nucleus, at least three pixels from its edge.
    inner = cells > 0
    for axis, step in itertools.product((0, 1), (-2, -1, 1, 2)):
        inner &= np.roll(cells, step, axis) == cells
    mask = np.where(inner, 1, np.where(cells > 0, 2, 0))
    count = len(image) // SIZE
    x, y = (
        array.reshape(count, SIZE, count, SIZE).swapaxes(1, 2).reshape(-1, SIZE, SIZE)
        for array in (image, mask)
    )
    x = x[..., np.newaxis]
    train = np.random.default_rng(seed).permutation(len(x) // 2)[:16]
    return (x[train], y[train]), (x[len(x) // 2 :], y[len(x) // 2 :])


def convolutions(hidden, filters):
    for _ in range(2):
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.ReLU()(hidden)
    return hidden


def build():
    inputs = keras.Input((SIZE, SIZE, 1))
    first = convolutions(inputs, 16)
    second = convolutions(layers.MaxPooling2D()(first), 32)
    hidden = convolutions(layers.MaxPooling2D()(second), 64)
    for start, filters in ((second, 32), (first, 16)):
        hidden = layers.Conv2DTranspose(filters, 2, strides=2)(hidden)
        hidden = convolutions(layers.Concatenate()([start, hidden]), filters)
    model = keras.Model(inputs, layers.Conv2D(len(NAMES), 1)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    return model


def predict(augments, seed, epochs):
    (x, y), (x_test, y_test) = load(seed)
    keras.utils.set_random_seed(seed)
    model = build()
    if augments:
        model = keras_modals.augment(model)
    model.fit(x, y, batch_size=4, epochs=epochs, verbose=0)
    return x_test, y_test, model.predict(x_test, verbose=0).argmax(-1)


def main(seeds=3, epochs=25):
    rows, pictures = [], {}
    for method in ("plain", "augmented"):
        for seed in range(seeds):
            x, truth, found = predict(method == "augmented", seed, epochs)
            overlap = jaccard_score(truth.ravel(), found.ravel(), average=None)
            rows.append((method, *overlap, overlap.mean()))
        pictures |= {"image": x[..., 0], "truth": truth, method: found}
    table = pd.DataFrame(rows, columns=["method", *NAMES, "mean IoU"])
    print(table.groupby("method", sort=False).mean().mul(100).round(1))
    _, axes = plt.subplots(len(pictures), 6, figsize=(9, 6.5), layout="tight")
    for row, (name, images) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(name)
        for axis, image in zip(row, images[8:], strict=False):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
    plt.savefig("segmentation.png")


if __name__ == "__main__":
    main()
