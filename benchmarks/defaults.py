"""Measures candidates for the package's defaults, on validation data only.

    KERAS_MODALS_DATA=folder python -m benchmarks.defaults run [--seeds 3] [...]
    python -m benchmarks.defaults table

Each finished run is a line of `benchmarks/results/defaults.csv`; a second call goes on
where the first stopped. The table shows the change against `none`, paired by seed,
with its standard error. Scores are means over the last five epochs.
"""

import argparse
import pathlib

import keras
import numpy as np

import keras_modals
from benchmarks import data, models, runs
from keras_modals import Policy, TripletSelector

RUNS = runs.Runs(pathlib.Path(__file__).parent / "results" / "defaults.csv")

EPOCHS = {"mlp": 60, "cnn_1d": 60, "cnn_2d": 20, "bilstm": 20}


def one(operation, probability, magnitude):
    return Policy({operation: (probability, magnitude)}, operation_counts=(0.0, 1.0))


def method(triplet=None, triplet_weight=0.0, prior_weight=0.0, **layer):
    compile_ = {
        "triplet_loss": triplet,
        "triplet_weight": triplet_weight,
        "prior_weight": prior_weight,
    }
    return layer, compile_


DIFFERENCE = one("difference_transform", 1.0, 0.7)
MILD = one("difference_transform", 1.0, 0.4)
MIXING = one("class_mixing", 1.0, 1.0)
ZERO = Policy.zero(("difference_transform",), 1)
PLAIN_ROWS = {"num_views": 1, "policy": ZERO}
MIXUP = {"num_views": 1, "policy": MIXING, "gradient_to_encoder": True}

#: Name to arguments of the layer and of `compile`; `none` is the plain model.
METHODS = {
    "none": None,
    "difference": method(policy=DIFFERENCE),
    "difference, encoder too": method(policy=DIFFERENCE, gradient_to_encoder=True),
    "difference, one view": method(
        policy=DIFFERENCE, num_views=1, gradient_to_encoder=True
    ),
    "difference, own class": method(policy=DIFFERENCE, partners="class"),
    "paper policy": method(
        policy=Policy.constant(0.5, 0.5),
        num_views=1,
        gradient_to_encoder=True,
        partners="class",
    ),
    "paper policy, head only": method(policy=Policy.constant(0.5, 0.5)),
    "difference, mild": method(policy=MILD),
    "gaussian": method(policy=one("gaussian_noise", 1.0, 0.7)),
    "extrapolation": method(policy=one("hard_extrapolation", 1.0, 0.5)),
    "mixing": method(**MIXUP),
    "mixing, clean view too": method(
        policy=MIXING, num_views=2, gradient_to_encoder=True
    ),
    "mixing, head only": method(policy=MIXING),
    "triplet random 0.01": method(TripletSelector(1.0, "random"), 0.01, **PLAIN_ROWS),
    "triplet random 0.1": method(TripletSelector(1.0, "random"), 0.1, **PLAIN_ROWS),
    "triplet cosine 0.1": method(
        TripletSelector(0.5, "random", "cosine"), 0.1, **PLAIN_ROWS
    ),
    "triplet cosine 0.3": method(
        TripletSelector(0.5, "random", "cosine"), 0.3, **PLAIN_ROWS
    ),
    "triplet cosine 0.3, mixing, clean view too": method(
        TripletSelector(0.5, "random", "cosine"),
        0.3,
        policy=MIXING,
        num_views=2,
        gradient_to_encoder=True,
    ),
    "triplet cosine 0.3, difference": method(
        TripletSelector(0.5, "random", "cosine"), 0.3, policy=DIFFERENCE
    ),
    "triplet cosine 0.1, difference": method(
        TripletSelector(0.5, "random", "cosine"), 0.1, policy=DIFFERENCE
    ),
    "triplet hardest 0.1, difference": method(
        TripletSelector(0.5, "hardest", "cosine"), 0.1, policy=DIFFERENCE
    ),
    "triplet hardest 0.3, difference": method(
        TripletSelector(0.5, "hardest", "cosine"), 0.3, policy=DIFFERENCE
    ),
    "triplet cosine 0.1, difference, mild": method(
        TripletSelector(0.5, "random", "cosine"), 0.1, policy=MILD
    ),
    "prior 0.01": method(prior_weight=0.01, **PLAIN_ROWS),
    **{
        f"hard interpolation, {hardness}": method(
            policy=one("hard_interpolation", 1.0, 0.5), hardness=hardness
        )
        for hardness in ("loss", "l2", "cosine", "margin", "uniform")
    },
}


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


def build(dataset, name, seed):
    model = getattr(models, dataset.encoder)(
        dataset.train[0].shape[1:], dataset.num_classes
    )
    if METHODS[name] is None:
        return compiled(model)
    layer, compile_ = METHODS[name]
    model = keras_modals.augment(model, seed=seed, **layer)
    return compiled(model, **compile_)


def run(dataset_name, name, seed, last=5):
    """Trains one model; mean validation accuracy and loss of the last epochs."""
    keras.utils.clear_session()
    dataset = data.load(dataset_name, seed)
    keras.utils.set_random_seed(seed)
    model = build(dataset, name, seed)
    x, y = dataset.valid
    valid = (x[:1500], y[:1500])
    epochs = EPOCHS[dataset.encoder]
    size = len(dataset.train[0])
    arguments = {"batch_size": min(50, size // 2), "verbose": 0}
    model.fit(*dataset.train, epochs=epochs - last, **arguments)
    history = model.fit(
        *dataset.train,
        validation_data=valid,
        validation_batch_size=500,
        initial_epoch=epochs - last,
        epochs=epochs,
        **arguments,
    ).history
    return np.mean(history["val_accuracy"]), np.mean(history["val_loss"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--datasets", nargs="+", default=list(data.LOADERS))
    command.add_argument("--methods", nargs="+", default=list(METHODS))
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--first-seed", type=int, default=0)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        RUNS.print_table(METHODS)
        return
    first = arguments.first_seed
    seeds = range(first, first + arguments.seeds)
    RUNS.run_all(run, arguments.datasets, arguments.methods, seeds)


if __name__ == "__main__":
    main()
