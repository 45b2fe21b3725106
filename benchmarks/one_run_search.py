"""Compares the one-run search with no augmentation, one operation and a population.

    KERAS_MODALS_DATA=folder python -m benchmarks.one_run_search run [--seeds 3] [...]
    python -m benchmarks.one_run_search table

Every method has the same training samples and epochs, and as many validation samples
as training samples, on which searches score their members, and by whose accuracy every
method goes back to its best epoch (a small recurrent network ends a training with a
spike now and then). What comes out is measured on the test part or, with `--tuning`, on
the rest of the validation part: the search's own defaults were chosen there.
"""

import argparse
import pathlib
import tempfile
import time

import keras

import keras_modals
from benchmarks import data, models, runs
from benchmarks.accuracy.methods import FORMER
from benchmarks.accuracy.problems import EPOCHS
from keras_modals import Policy, SharedEncoderSearch

FOLDER = pathlib.Path(__file__).parent / "results"
MEASURES = ("accuracy", "loss", "seconds")


def back_to_best_epoch(patience):
    return keras.callbacks.EarlyStopping(
        "val_accuracy", patience=patience, restore_best_weights=True
    )


def compiled(model, **arguments):
    model.compile(
        keras.optimizers.Adam(1e-3, clipnorm=5.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Compiling takes longer than such small runs gain by it.
        jit_compile=False,
        **arguments,
    )
    return model


def plain(model, seed, fit):
    compiled(model)
    fit(model.fit)
    return model


def difference_transform(model, seed, fit):
    return plain(keras_modals.augment(model, seed=seed, **FORMER), seed, fit)


def one_run(layer=None, weights=None, **arguments):
    layer = {
        "num_views": 2,
        "dropout": 0.0,
        "policy": Policy.zero(repeats=1),
        **(layer or {}),
    }

    def train(model, seed, fit):
        augmented = keras_modals.augment(model, seed=seed, **layer)
        compiled(augmented, **(weights or {}))
        search = SharedEncoderSearch(augmented, seed=seed, **arguments)
        fit(search.fit)
        return search.best_model()

    return train


def population(model, seed, fit):
    """Eight trainings, by Keras Tuner, of what `one_run()` searches in one."""

    def build(hp):
        augmented = keras_modals.augment(
            keras.models.clone_model(model),
            num_views=2,
            policy=keras_modals.tuners.policy_space(hp, repeats=1),
            dropout=hp.Float("dropout", 0.0, 0.9, step=0.1),
        )
        return compiled(augmented)

    def search(*data, epochs, verbose, callbacks, **arguments):
        tuner.population.generations = epochs // 3
        tuner.search(*data, verbose=verbose, **arguments)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_modals.tuners.PopulationBasedTuner(
            build, "val_accuracy", population_size=8, seed=seed, directory=folder
        )
        fit(search)
        return tuner.get_best_models(1)[0]


THROUGH = {"gradient_to_encoder": True}
ONE_VIEW = {"num_views": 1}

#: Name to `fn(model, seed, fit)`, which returns the trained model.
METHODS = {
    "none": plain,
    "difference transform": difference_transform,
    "one run": one_run(),
    "population": population,
    "best gradient": one_run(encoder_gradient="best"),
    "weighted gradient": one_run(encoder_gradient="weighted"),
    "by accuracy": one_run(objective="val_accuracy"),
    "smoothing 0": one_run(smoothing=0.0),
    "smoothing 0.8": one_run(smoothing=0.8),
    "every epoch": one_run(epochs_per_generation=1),
    "every 6 epochs": one_run(epochs_per_generation=6),
    "random start": one_run(initial="random"),
    "4 views": one_run({"num_views": 4}),
    "one view": one_run(ONE_VIEW),
    "through encoder": one_run(THROUGH),
    "triplet 0.1": one_run(None, {"triplet_weight": 0.1}),
}


def run(tuning, last_epoch):
    def run_one(name, method, seed):
        keras.utils.clear_session()
        dataset = data.load(name, seed)
        keras.utils.set_random_seed(seed)
        model = getattr(models, dataset.encoder)(
            dataset.train[0].shape[1:], dataset.num_classes
        )
        size = len(dataset.train[0])
        x, y = dataset.valid
        count = min(size, len(x) // 2)
        final = (x[count : count + 1500], y[count : count + 1500])
        if not tuning:
            final = dataset.test

        epochs = EPOCHS[dataset.encoder]

        def fit(method):
            method(
                *dataset.train,
                batch_size=min(50, size // 2),
                epochs=epochs,
                validation_data=(x[:count], y[:count]),
                validation_batch_size=500,
                callbacks=[] if last_epoch else [back_to_best_epoch(epochs)],
                verbose=0,
            )

        start = time.perf_counter()
        trained = METHODS[method](model, seed, fit)
        seconds = time.perf_counter() - start
        scores = trained.evaluate(*final, batch_size=500, verbose=0, return_dict=True)
        return scores["accuracy"], scores["loss"], seconds

    return run_one


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "table"):
        command = commands.add_parser(name)
        command.add_argument("--tuning", action="store_true")
        command.add_argument("--last-epoch", action="store_true")
        if name == "run":
            command.add_argument("--datasets", nargs="+", default=list(data.LOADERS))
            command.add_argument("--methods", nargs="+", default=list(METHODS))
            command.add_argument("--seeds", type=int, default=3)
            command.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    name = "one_run_tuning" if arguments.tuning else "one_run_search"
    name += "_last_epoch" * arguments.last_epoch
    results = runs.Runs(FOLDER / f"{name}.csv", MEASURES)
    if arguments.command == "table":
        results.print_table(METHODS)
        return
    first = arguments.first_seed
    results.run_all(
        run(arguments.tuning, arguments.last_epoch),
        arguments.datasets,
        arguments.methods,
        range(first, first + arguments.seeds),
    )


if __name__ == "__main__":
    main()
