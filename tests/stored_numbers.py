"""Compares the numbers of every mode of training with stored ones.

A refactoring must not change any: `[KERAS_BACKEND=jax] python tests/stored_numbers.py`
compares them. With `--write`, it stores them again, for a change that is meant to
change some, and prints which. The last digits depend on the processor and compiler, so
store the numbers of the previous commit on the machine that compares.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from problems import NUM_CLASSES, compile_, make_data, plain_model

import keras_modals
from keras_modals import Policy, PolicySchedule, PolicyScheduler, SharedEncoderSearch
from keras_modals.operations import DifferenceTransform, HardInterpolation

FILE = pathlib.Path(__file__).with_suffix(".json")
OPERATIONS = (
    "hard_interpolation",
    "hard_extrapolation",
    "gaussian_noise",
    "difference_transform",
    "class_mixing",
)
EPOCHS, BATCH = 17, 32  # 51 steps

PAPER = Policy.constant(0.6, 0.4)
MIXING = Policy.single("class_mixing", 0.8)
MOVES = Policy(
    {
        "class_mixing": (0.5, 0.5),
        "hard_interpolation": (0.5, 0.5),
        "gaussian_noise": (0.5, 0.5),
    },
    operation_counts=(0.2, 0.3, 0.5),
)


def mode(policy, compile=None, callbacks=(), targets="indices", **layer):
    return {
        "layer": {
            "policy": policy,
            "layer": "head",
            "num_views": 2,
            "warmup_steps": 0,
            **layer,
        },
        "compile": compile or {},
        "callbacks": callbacks,
        "targets": targets,
    }


def one_number(y_true, y_pred):
    return ops.mean(keras.losses.categorical_crossentropy(y_true, y_pred))


def scheduler():
    schedule = PolicySchedule(
        [
            (6, Policy.constant(0.2, 0.2), {"dropout": 0.1, "triplet_weight": 0.1}),
            (6, Policy.constant(0.9, 0.5), {"dropout": 0.3, "triplet_weight": 0.2}),
        ]
    )
    return PolicyScheduler(schedule)


MODES = {
    **{
        f"{name}, {views} views": mode(Policy.single(name, 0.5), num_views=views)
        for name in OPERATIONS
        for views in (1, 2)
    },
    "all operations": mode(PAPER, num_views=2),
    "operations and mixing": mode(MOVES, num_views=3),
    "three moved views": mode(PAPER, num_views=3, clean_view=False),
    "moves train the encoder": mode(PAPER, num_views=2, gradient_to_encoder=True),
    "differences of the own class": mode(
        Policy.single(DifferenceTransform(donors="class"), 0.7), num_views=2
    ),
    **{
        f"hardness {kind}": mode(
            Policy.single(HardInterpolation(hardness=kind, temperature=0.5), 0.7)
        )
        for kind in ("l2", "cosine", "margin", "uniform")
    },
    "dropout": mode(MIXING, num_views=2, dropout=0.3),
    "triplets": mode(MIXING, {"triplet_weight": 0.3}),
    "prior": mode(MIXING, {"prior_weight": 0.3}),
    "the paper's": mode(
        PAPER, {"triplet_weight": 0.2, "prior_weight": 0.5}, num_views=2
    ),
    "one-hot targets": mode(MIXING, {"loss": "categorical_crossentropy"}, (), "rows"),
    "loss of the batch": mode(MIXING, {"loss": one_number}, (), "rows"),
    "summed loss": mode(
        MIXING,
        {"loss": keras.losses.SparseCategoricalCrossentropy(reduction="sum")},
        num_views=2,
    ),
    "the defaults": {
        "layer": {"policy": keras_modals.DEFAULT_POLICY},
        "compile": {},
        "callbacks": (),
        "targets": "indices",
    },
    "several layers, operations and mixing": mode(
        MOVES, {"prior_weight": 0.1}, layer="auto", num_views=1
    ),
    "several layers, two views": mode(MIXING, layer="auto"),
    "schedule": mode(
        PAPER, {"triplet_weight": 0.1}, [scheduler], num_views=2, dropout=0.1
    ),
}
SEARCHES = {
    "one-run search": {"population_size": 3, "initial": "policy"},
    "one-run search, heads apart": {
        "population_size": 2,
        "vectorized": False,
        "initial": "zero",
    },
    "one-run search, random": {
        "population_size": 3,
        "initial": "random",
        "encoder_gradient": "weighted",
    },
}


def optimizer():
    # Adam would amplify small differences.
    return keras.optimizers.SGD(0.05, momentum=0.9)


def make_model(layer, compile):
    plain = plain_model(dropout=0.2)
    operations = layer["policy"].by_name.values()
    discriminator = keras_modals.GaussianDiscriminator((8,), seed=0)
    model = keras_modals.augment(
        plain,
        memory_size=20 if any(each.needs_memory for each in operations) else None,
        seed=0,
        **layer,
    )
    weight = compile.pop("prior_weight", 0.0)
    terms = [keras_modals.Prior(weight, discriminator)]
    return compile_(model, optimizer(), terms=terms, **compile)


def digest(array):
    """Returns three sums that reveal a change of any entry."""
    values = np.asarray(ops.convert_to_numpy(array), "float64").reshape(-1)
    places = np.arange(1, len(values) + 1)
    sums = (np.sum(values * np.cos(places * k)) for k in (0.0, 0.1, 0.7))
    return [round(float(value), 9) for value in sums]


def numbers(name):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    x, y = make_data(np.random.default_rng(0))
    fit = {"epochs": EPOCHS, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    if name in MODES:
        settings = MODES[name]
        model = make_model(settings["layer"], dict(settings["compile"]))
        if name == "summed loss":
            # Its gradients grow with the batch.
            model.optimizer.learning_rate = 0.001
        if settings["targets"] == "rows":
            y = np.eye(NUM_CLASSES, dtype="float32")[y]
        callbacks = [make() for make in settings["callbacks"]]
        history = model.fit(x, y, callbacks=callbacks, **fit).history
    else:
        base = make_model(
            {"policy": PAPER, "num_views": 2, "dropout": 0.1}, {"triplet_weight": 0.1}
        )
        search = SharedEncoderSearch(base, seed=0, **SEARCHES[name])
        data = {"validation_data": (x[:30] / 3, y[:30])}
        history = search.fit(x / 3, y, **data, **fit).history
        model = search.best_model()
    layer = model.latent_augmentation
    state = {
        f"{each} {index}": digest(weight)
        for each in ("hidden", "latents", "head")
        for index, weight in enumerate(model.get_layer(each).weights)
    }
    if layer.memory is not None:
        statistics = layer.memory.statistics(ops.arange(NUM_CLASSES, dtype="int32"))
        for name, values in statistics._asdict().items():
            state[f"memory {name}"] = digest(values)
        for table in ("latents", "hardness"):
            state[f"memory {table}"] = digest(getattr(layer.memory, table))
    if "discriminator_loss" in history:
        for index, weight in enumerate(model.terms[-1].discriminator.weights):
            state[f"discriminator {index}"] = digest(weight)
    logs = {f"log {key}": [values[0], values[-1]] for key, values in history.items()}
    return {**logs, **state}


def stored():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


NAMES = [*MODES, *SEARCHES]


def differences(actual, expected):
    """Returns the names of entries that differ by more than 1e-6."""
    changed = sorted(actual.keys() ^ expected.keys())
    if changed:
        return changed
    return [
        key
        for key, values in expected.items()
        if not np.allclose(actual[key], values, rtol=1e-6, atol=1e-6)
    ]


def main():
    backend, results = keras.backend.backend(), stored()
    actual = {name: numbers(name) for name in NAMES}
    differ = 0
    for name, expected in results.get(backend, {}).items():
        found = differences(actual[name], expected)
        differ += bool(found)
        print(f"{name}: {', '.join(found) if found else 'equal'}", flush=True)
    if "--write" in sys.argv:
        results[backend] = actual
        FILE.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        return 0
    return f"{differ} modes differ" if differ else 0


if __name__ == "__main__":
    sys.exit(main())
