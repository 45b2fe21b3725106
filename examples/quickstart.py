"""Trains a small model without and with augmentation, side by side.

    python examples/quickstart.py

Uses handwritten digits from scikit-learn, with 20 labeled samples per class. For each
seed, it trains a plain model, the same model with the defaults of
`keras_modals.augment`, and one that also uses triplets. Prints a table of test
accuracies, on the same test samples for every seed.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_modals

SEEDS = range(5)
EPOCHS = 60


def load(seed):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=0.5, stratify=y, random_state=0
    )
    x, _, y, _ = train_test_split(x, y, train_size=200, stratify=y, random_state=seed)
    return x, x_test, y, y_test


def plain_model():
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(128, "relu")(inputs)
    hidden = keras.layers.Dense(128, "relu")(hidden)
    latents = keras.layers.Dense(64)(hidden)
    outputs = keras.layers.Dense(10, "softmax")(latents)
    return keras.Model(inputs, outputs)


def augmented_model():
    # Find places for `LatentAugmentation` layers, and insert them.
    return keras_modals.augment(plain_model())


WAYS = {
    "plain": (plain_model, {}),
    "augmented": (augmented_model, {}),
    "with triplets": (augmented_model, {"triplet_weight": 0.3}),
}


def test_accuracy(way, seed):
    x_train, x_test, y_train, y_test = load(seed)
    keras.utils.set_random_seed(seed)
    build, arguments = WAYS[way]
    model = build()
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **arguments
    )
    # Repeat the training data to show all epochs in one progress bar.
    x, y = np.tile(x_train, (EPOCHS, 1)), np.tile(y_train, EPOCHS)
    model.fit(x, y, batch_size=50)
    return 100 * model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]


def main():
    accuracies = {way: [] for way in WAYS}
    for seed in SEEDS:
        for way in WAYS:
            print(f"\nseed {seed}, {way}")
            accuracies[way].append(test_accuracy(way, seed))

    print(f"\nTest accuracy, %, {len(SEEDS)} seeds: mean, spread, change vs plain\n")
    for way, values in accuracies.items():
        change = np.subtract(values, accuracies["plain"])
        error = np.std(change, ddof=1) / len(change) ** 0.5
        print(
            f"{way:14} {np.mean(values):5.1f} ± {np.std(values, ddof=1):3.1f}   "
            f"{np.mean(change):+5.1f} ± {error:3.1f} (standard error, paired)"
        )


if __name__ == "__main__":
    main()
