"""Searches for a schedule of policies and trains with it.

    python examples/policy_search.py [--workers 2] [--tuner random]

Uses handwritten digits from scikit-learn, with 20 labeled samples per class. A
population of models tunes operations, the dropout of latents and the triplet weight on
validation data. The schedule is saved as JSON and plotted. Then a plain model, the
package's defaults and the schedule are trained with several seeds, and their test
accuracies are printed. With `--tuner random`, Keras Tuner's own `RandomSearch` searches
for a single policy instead.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_modals
from keras_modals import PolicySchedule, PolicyScheduler, tuners
from keras_modals.plots import plot_schedule


def load(seed):
    """Returns 200 training and 400 validation samples, which depend on the seed, and
    800 test samples, the same for all seeds."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=800, stratify=y, random_state=0
    )
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, train_size=200, test_size=400, stratify=y, random_state=seed
    )
    return (x_train, y_train), (x_val, y_val), (x_test, y_test)


def plain_model():
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(128, "relu")(inputs)
    hidden = keras.layers.Dense(128, "relu")(hidden)
    latents = keras.layers.Dense(64)(hidden)
    outputs = keras.layers.Dense(10, "softmax")(latents)
    return keras.Model(inputs, outputs)


def compiled(model, **arguments):
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **arguments
    )
    return model


def build(hp):
    """Declares the policy, the dropout of latents and the triplet weight."""
    model = keras_modals.augment(
        plain_model(),
        policy=tuners.policy_space(hp, repeats=1),
        dropout=hp.Float("dropout", 0.0, 0.7, default=0.0),
    )
    weight = hp.Float("triplet_weight", 0.0, 0.5, default=0.1)
    return compiled(model, triplet_weight=weight)


def search(arguments, folder):
    (x, y), validation, _ = load(seed=0)
    settings = {"directory": folder, "seed": 0}
    if arguments.tuner == "random":
        tuner = keras_tuner.RandomSearch(
            build, "val_loss", max_trials=arguments.population, **settings
        )
        tuner.search(
            x, y, validation_data=validation, epochs=arguments.epochs, verbose=0
        )
        hp = tuner.get_best_hyperparameters()[0]
        values = {name: hp.get(name) for name in ("dropout", "triplet_weight")}
        return PolicySchedule([(1, tuners.policy_space(hp, repeats=1), values)])
    tuner = tuners.PopulationBasedTuner(
        build,
        population_size=arguments.population,
        generations=arguments.generations,
        epochs_per_generation=max(1, arguments.epochs // arguments.generations),
        **settings,
    )
    tuner.search(
        x, y, validation_data=validation, batch_size=50, workers=arguments.workers
    )
    tuner.results_summary()
    return tuner.best_schedule()


def test_accuracies(schedule, seed, epochs):
    """Returns the test accuracy in % of each way to train the same model."""
    (x, y), _, test = load(seed)

    def train(model, callbacks=()):
        # Validation samples are not used, since nothing is chosen here.
        model.fit(
            x, y, batch_size=50, epochs=epochs, verbose=0, callbacks=list(callbacks)
        )
        return 100 * model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]

    ways = {
        "plain": lambda: train(compiled(plain_model())),
        "default policy": lambda: train(compiled(keras_modals.augment(plain_model()))),
        "searched schedule": lambda: train(
            # These values are replaced when the first epoch begins.
            build(initial_values()),
            [PolicyScheduler(schedule)],
        ),
    }
    results = {}
    for name, way in ways.items():
        keras.utils.set_random_seed(seed)
        results[name] = way()
    return results


def initial_values():
    hp = keras_tuner.HyperParameters()
    # Positive, so that the triplet loss is compiled in.
    hp.values["triplet_weight"] = 0.1
    return hp


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--generations", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--tuner", choices=("population", "random"), default="population"
    )
    parser.add_argument("--output", default="schedule.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        schedule = search(arguments, folder)
    schedule.save(arguments.output)
    picture = pathlib.Path(arguments.output).with_suffix(".png")
    plot_schedule(schedule).figure.savefig(picture)
    print(f"\nThe schedule is in {arguments.output}, and its plot in {picture}.")

    # Use other training samples than the search.
    results = [
        test_accuracies(schedule, seed, arguments.epochs)
        for seed in range(1, arguments.seeds + 1)
    ]
    print(f"\nTest accuracy, %, {len(results)} seeds: mean, spread, change vs plain")
    plain = np.array([result["plain"] for result in results])
    for name in results[0]:
        values = np.array([result[name] for result in results])
        change = values - plain
        # A single seed has no spread.
        spread, error = (
            (np.std(v, ddof=1) if len(v) > 1 else np.nan) for v in (values, change)
        )
        print(
            f"{name:18} {np.mean(values):5.1f} ± {spread:3.1f}   "
            f"{np.mean(change):+5.1f} ± {error / len(values) ** 0.5:3.1f} (paired)"
        )


if __name__ == "__main__":
    main()
