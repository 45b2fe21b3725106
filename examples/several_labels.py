"""Several labels at once: the functions of yeast genes, out of 14.

    python examples/several_labels.py

Uses 400 training genes with 103 measurements and one or several functions each. Trains
a small network without and with one more line of code, prints a table, and plots the
average precision for each function to `several_labels.png`.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers
from river.datasets import Yeast
from sklearn.metrics import average_precision_score, f1_score

import keras_modals


def load(seed):
    genes = [(list(x.values()), list(y.values())) for x, y in Yeast()]
    x, y = (np.array(part, "float32") for part in zip(*genes, strict=True))
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = x[order], y[order]
    return (x[:400], y[:400]), (x[400:], y[400:])


def build(x):
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            normalization,
            layers.Dense(128, "relu"),
            layers.Dense(64, "relu"),
            layers.Dense(14, "sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["binary_accuracy"])
    return model


def predict(augments, seed, epochs):
    (x, y), (x_test, y_test) = load(seed)
    keras.utils.set_random_seed(seed)
    model = build(x)
    if augments:
        model = keras_modals.augment(model)
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    return y_test, model.predict(x_test, verbose=0)


def log_loss(truth, found):
    return float(keras.losses.BinaryCrossentropy()(truth, found))


def main(seeds=5, epochs=30):
    rows, precisions = [], {}
    for method in ("plain", "augmented"):
        for seed in range(seeds):
            truth, found = predict(method == "augmented", seed, epochs)
            precision = average_precision_score(truth, found, average=None)
            f1 = f1_score(truth, found > 0.5, average="micro")
            rows.append((method, precision.mean(), f1, log_loss(truth, found)))
            precisions.setdefault(method, []).append(precision)
    columns = ["method", "average precision", "micro F1", "log loss"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.groupby("method", sort=False).mean().round(3))
    means = pd.DataFrame({name: np.mean(each, 0) for name, each in precisions.items()})
    means.index += 1
    means.plot.bar(xlabel="function", ylabel="average precision", rot=0)
    plt.savefig("several_labels.png")


if __name__ == "__main__":
    main()
