"""Times the `fit` step of plain and augmented models, side by side.

    [KERAS_BACKEND=jax] python -m benchmarks.speed.steps [--encoders mlp ...] [...]

All variants of one setting are timed in turn, round after round, in one process. The
table has the median over rounds and the ratio to the plain model. Machines are noisy,
so read the ratios.
"""

import argparse

import keras
import numpy as np

import keras_modals
from benchmarks import models
from benchmarks.speed.timing import time_in_turn

CLASSES = 10
COMPILE = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy"}


def encoders():
    rng = np.random.default_rng(0)

    def floats(*shape):
        return lambda n: rng.normal(size=(n, *shape)).astype("float32")

    return {
        "mlp": (lambda: models.mlp((64,), CLASSES), floats(64)),
        "cnn": (lambda: models.cnn_2d((32, 32, 3), CLASSES), floats(32, 32, 3)),
        "bilstm": (
            lambda: models.bilstm((30,), CLASSES),
            lambda n: rng.integers(0, 2000, (n, 30)).astype("int32"),
        ),
        "resnet18": (
            lambda: models.resnet18((32, 32, 3), CLASSES),
            floats(32, 32, 3),
        ),
    }


def variants():
    """Returns a dict from names to functions that turn a plain model into a compiled
    one."""

    def plain(model, **options):
        model.compile(**COMPILE, **options)
        return model

    def modals(layer_arguments=None, **weights):
        def build(model, **options):
            augmented = keras_modals.augment(
                model, num_classes=CLASSES, **(layer_arguments or {})
            )
            augmented.compile(**COMPILE, **weights, **options)
            return augmented

        return build

    four = {"policy": keras_modals.Policy.constant(0.5, 0.5), "layer": "head"}
    two_views = {**four, "num_views": 2}
    return {
        "plain": plain,
        "defaults": modals(),
        "at the head": modals({"layer": "head"}),
        "with triplets": modals(triplet_weight=0.1),
        "mixing, two views": modals({"num_views": 2}),
        "+ discriminator": modals(prior_weight=0.01),
        "four operations": modals(two_views),
        "memory of 50,000": modals({**two_views, "memory_size": 5000}),
    }


def time_variants(build_model, make_inputs, batch, steps, rounds, jit_compile):
    x = make_inputs(batch * steps)
    y = np.random.default_rng(1).integers(0, CLASSES, len(x)).astype("int32")
    built = {
        name: build(build_model(), jit_compile=jit_compile)
        for name, build in variants().items()
    }

    def fit(model):
        return lambda: model.fit(x, y, batch_size=batch, verbose=0, shuffle=False)

    times = time_in_turn({name: fit(model) for name, model in built.items()}, rounds)
    return {name: time / steps for name, time in times.items()}


STEPS = {"mlp": 100, "cnn": 10, "bilstm": 10, "resnet18": 2}


def rows(quick):
    for encoder in ("mlp", "cnn", "bilstm"):
        keras.utils.clear_session()
        medians = time_variants(
            *encoders()[encoder], 128, STEPS[encoder], 3 if quick else 9, "auto"
        )
        cells = [
            f"{name} {time / medians['plain']:.2f}"
            for name, time in medians.items()
            if name != "plain"
        ]
        yield f"{encoder}, step over plain", ", ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=list(encoders()))
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--jit", nargs="+", default=["auto"], help="auto, true, false")
    arguments = parser.parse_args()
    names = list(variants())
    print(f"{'':28}" + "".join(f"{name:>18}" for name in names))
    for encoder in arguments.encoders:
        build_model, make_inputs = encoders()[encoder]
        for batch in arguments.batches:
            for jit in arguments.jit:
                keras.utils.clear_session()
                medians = time_variants(
                    build_model,
                    make_inputs,
                    batch,
                    STEPS[encoder],
                    arguments.rounds,
                    {"auto": "auto", "true": True, "false": False}[jit],
                )
                cells = [
                    f"{medians[name]:9.2f} ms {medians[name] / medians['plain']:5.2f}"
                    for name in names
                ]
                label = f"{encoder}, batch {batch}, jit {jit}"
                print(
                    f"{label:28}" + "".join(f"{cell:>18}" for cell in cells), flush=True
                )


if __name__ == "__main__":
    main()
