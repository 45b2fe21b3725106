"""A table: 80 biopsies with 30 measurements each, benign or malignant.

    python examples/tabular.py

Trains a small network in several ways with `keras_modals.compare`, prints a table of
test accuracies and plots it to `tabular.png`.
"""

import keras
from keras import layers
from sklearn.datasets import load_breast_cancer

import keras_modals
from keras_modals.plots import plot_comparison

METHODS = ("none", "dropout", "manifold mixup", "latent mixing", "one-run search")


def build():
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.BatchNormalization(),
            layers.Dense(64, "relu"),
            layers.Dense(32),
            # The latents are the inputs of the last layer.
            layers.Dense(2, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=40):
    x, y = load_breast_cancer(return_X_y=True)
    result = keras_modals.compare(
        build,
        (x.astype("float32"), y),
        methods,
        seeds,
        epochs=epochs,
        batch_size=16,
        # Of 569 samples, 14% are for training, 14% for validation, the rest for test.
        splits=(0.14, 0.72),
        dataset="tabular",
    )
    print(result)
    plot_comparison(result, "tabular").figure.savefig("tabular.png")


if __name__ == "__main__":
    main()
