"""Times the `fit` step of plain and augmented models, side by side.

    [KERAS_BACKEND=jax] python benchmarks/step_time.py [--encoders mlp cnn bilstm] [...]

All variants of one setting are timed in turn, round after round, in one process; the
table gives the median over rounds and the ratio to the plain model's. Machines are
noisy: read the ratios.
"""

import argparse
import gc
import statistics
import time

import keras
import models
import numpy as np

import keras_modals

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
    }


def variants():
    """Name to function that turns a plain model into a compiled one."""

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

    four = {"policy": keras_modals.Policy.constant(0.5, 0.5)}
    return {
        "plain": plain,
        "augmentation": modals(triplet_weight=0.0, prior_weight=0.0),
        "+ triplet": modals(triplet_weight=0.1, prior_weight=0.0),
        "+ discriminator": modals(triplet_weight=0.1, prior_weight=0.01),
        "four operations": modals(four, triplet_weight=0.0, prior_weight=0.0),
        "memory of 500": modals({"memory_size": 50}, triplet_weight=0.0),
        "memory of 50,000": modals({"memory_size": 5000}, triplet_weight=0.0),
    }


def time_variants(build_model, make_inputs, batch, steps, rounds, jit_compile):
    x = make_inputs(batch * steps)
    y = np.random.default_rng(1).integers(0, CLASSES, len(x)).astype("int32")
    built = {
        name: build(build_model(), jit_compile=jit_compile)
        for name, build in variants().items()
    }
    times = {name: [] for name in built}
    for round_ in range(rounds + 1):
        for name, model in built.items():
            gc.collect()
            start = time.perf_counter()
            model.fit(x, y, batch_size=batch, verbose=0, shuffle=False)
            if round_:  # The first one compiles.
                times[name].append((time.perf_counter() - start) / steps * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=list(encoders()))
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--jit", nargs="+", default=["auto"], help="auto, true, false")
    arguments = parser.parse_args()
    names = list(variants())
    print(f"{'':28}" + "".join(f"{name:>18}" for name in names))
    steps = {"mlp": 100, "cnn": 10, "bilstm": 10}
    for encoder in arguments.encoders:
        build_model, make_inputs = encoders()[encoder]
        for batch in arguments.batches:
            for jit in arguments.jit:
                keras.utils.clear_session()
                medians = time_variants(
                    build_model,
                    make_inputs,
                    batch,
                    steps[encoder],
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
