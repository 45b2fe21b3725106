"""Few labels, many samples: accuracy by the number of labels, with and without
unlabeled samples.

    python examples/few_labels.py

Spoken vowels of nine people (audio) and handwritten digits (images), with 5, 10, 20 and
50 labels per class, if available. All other training samples are unlabeled. Prints a
table and plots it to `few_labels.png`.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers
from sklearn.datasets import load_digits
from sktime.datasets import load_japanese_vowels

import keras_modals
from keras_modals import evaluation

COUNTS = (5, 10, 20, 50)
METHODS = {
    "latent mixing": evaluation.METHODS["latent mixing"],
    # A single setting, with pseudo-labels. Choosing among all settings takes three
    # times as long.
    "latent mixing, unlabeled": evaluation.Method(
        evaluation.METHODS["latent mixing, unlabeled"].train,
        ({"weight": 1.0, "threshold": 0.8},),
    ),
}
FRAMES, PASSES = 29, 10


def vowels():
    """Returns the recordings, padded with silence, and the speakers."""
    table, speakers = load_japanese_vowels(return_X_y=True)
    x = np.zeros((len(table), FRAMES, table.shape[1]), "float32")
    for recording, row in zip(x, table.to_numpy(), strict=True):
        recording[: len(row[0])] = np.stack(row, axis=-1)
    return x, speakers.astype("int32") - 1


def digits():
    x, y = load_digits(return_X_y=True)
    return (x.reshape(-1, 8, 8, 1) / 16).astype("float32"), y.astype("int32")


def audio_model():
    return keras.Sequential(
        [
            keras.Input((FRAMES, 12)),
            layers.Conv1D(64, 3, activation="relu"),
            layers.MaxPooling1D(),
            layers.Conv1D(64, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(48),
            layers.Dense(9, "softmax"),
        ]
    )


def image_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(48),
            layers.Dense(10, "softmax"),
        ]
    )


def split(x, y, count, seed):
    """Splits samples into half for training and a quarter each for validation and test.

    `count` training samples of each class are labeled, and all others are unlabeled. An
    epoch repeats the labeled samples, since the overhead of an epoch with one batch
    would exceed its training time.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    train, validation, test = np.split(order, [len(y) // 2, 3 * len(y) // 4])
    labeled = np.concatenate([train[y[train] == k][:count] for k in np.unique(y)])
    others = np.setdiff1d(train, labeled)
    parts = {"train": np.tile(labeled, PASSES), "validation": validation, "test": test}
    data = {name: (x[chosen], y[chosen]) for name, chosen in parts.items()}
    return {**data, "unlabeled": x[others]}


def compiled(make):
    def build():
        model = make()
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
        return model

    return build


def main(counts=COUNTS, seeds=1, steps=600):
    tables = {}
    for name, make, (x, y) in (
        ("audio", audio_model, vowels()),
        ("images", image_model, digits()),
    ):
        classes = len(np.unique(y))
        for count in counts:
            if count > 0.4 * np.bincount(y).min():
                continue
            batch_size = min(50, count * classes)
            epochs = max(1, steps * batch_size // (count * classes * PASSES))
            result = keras_modals.compare(
                compiled(make),
                lambda seed, x=x, y=y, count=count: split(x, y, count, seed),
                METHODS,
                seeds,
                epochs=epochs,
                batch_size=batch_size,
                # Test the last weights, so that no validation is needed.
                monitor=None,
                validation_freq=epochs,
            )
            runs = result.to_dataframe()
            runs = runs[(runs["split"] == "test") & (runs["metric"] == "accuracy")]
            means = runs.groupby("method", sort=False)["value"].mean()
            tables[name, count] = means.rename({"none": "plain"})
    table = pd.DataFrame(tables).T.rename_axis(["data", "labels per class"])
    print((100 * table).round(1).to_string())
    _, axes = plt.subplots(1, 2, figsize=(9, 4), layout="tight")
    for axis, (name, part) in zip(axes, table.groupby(level=0), strict=True):
        part = 100 * part.droplevel(0)
        part.plot(ax=axis, marker="o", title=name, ylabel="test accuracy, %")
    plt.savefig("few_labels.png")


if __name__ == "__main__":
    main()
