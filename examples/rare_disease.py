"""Few, imbalanced samples: eight biopsies of a rare disease among 128.

    python examples/rare_disease.py

Predicting that everyone is healthy has an accuracy of 94% here. Balanced accuracy, the
mean recall of both classes, is more informative. Compares methods for rare classes,
`keras_modals`, and both together. Prints a table and plots it to `rare_disease.png`.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_breast_cancer

import keras_modals
from keras_modals.plots import plot_comparison

ILL, HEALTHY = 8, 120

BALANCED = keras_modals.Policy(
    {keras_modals.operations.ClassMixing(partners="balanced"): (0.5, 0.5)}
)


def load(seed):
    x, y = load_breast_cancer(return_X_y=True)
    x, y = x.astype("float32"), 1 - y
    rng = np.random.default_rng(seed)
    ill, healthy = (rng.permutation(np.flatnonzero(y == label)) for label in (1, 0))
    train = np.concatenate([ill[:ILL], healthy[:HEALTHY]])
    # Equally few validation samples. The test samples are balanced.
    validation = np.concatenate([ill[-ILL:], healthy[-HEALTHY:]])
    test = np.concatenate([ill[ILL:108], healthy[HEALTHY:220]])
    # Scale by statistics of the training samples only.
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    indices = {"train": train, "validation": validation, "test": test}
    return {name: (x[chosen], y[chosen]) for name, chosen in indices.items()}


def build():
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(64, "relu"),
            layers.Dense(32),
            layers.Dense(2, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def balanced_mixing(trial, model):
    """Draws partners from all classes equally, so that the rare one is mixed in as
    often as the other."""
    return trial.fit(keras_modals.augment(model, policy=BALANCED, seed=trial.seed))


METHODS = {
    **{
        name: keras_modals.evaluation.METHODS[name]
        for name in (
            "none",
            "class weights",
            "SMOTE",
            "manifold mixup",
            "latent mixing",
        )
    },
    "balanced mixing": balanced_mixing,
}


def main(methods=tuple(METHODS), seeds=3, epochs=30):
    result = keras_modals.compare(
        build,
        load,
        {name: METHODS[name] for name in methods},
        seeds,
        epochs=epochs,
        batch_size=16,
        metric="balanced_accuracy",
        # Accuracy would favor a model that finds no disease.
        monitor="val_loss",
        dataset="rare disease",
    )
    print(result)
    plot_comparison(result, "rare disease").figure.savefig("rare_disease.png")


if __name__ == "__main__":
    main()
