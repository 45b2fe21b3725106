"""Times a training step with unlabeled samples, and its parts.

    [KERAS_BACKEND=jax] python -m benchmarks.speed.unlabeled [--rounds 9]

For each encoder, times in turn in one process: an augmented step of the labeled samples
alone; a step of as many labeled samples as labeled and unlabeled together; the
teacher's forward pass of these; and the step with `consistency_weight`. The ratio of
the last to the sum of the two before it shows the overhead.
"""

import argparse

import keras
import numpy as np

import keras_modals
from benchmarks.speed.steps import CLASSES, COMPILE, encoders
from benchmarks.speed.timing import time_in_turn

LABELED, UNLABELED = 32, 64
STEPS = {"mlp": 100, "cnn": 10, "bilstm": 10}


def time_encoder(encoder, rounds):
    build, make_inputs = encoders()[encoder]
    steps = STEPS[encoder]
    sizes = {"labeled alone": LABELED, "as many, labeled": LABELED + UNLABELED}
    labels = np.random.default_rng(1).integers(0, CLASSES, steps * 1000)
    runs = {}

    def augmented(**weights):
        model = keras_modals.augment(build(), num_classes=CLASSES)
        model.compile(**COMPILE, **weights)
        return model

    def fit(model, x, y, size):
        return lambda: model.fit(x, y, batch_size=size, verbose=0, shuffle=False)

    for name, size in sizes.items():
        x = make_inputs(size * steps)
        runs[name] = fit(augmented(), x, labels[: len(x)], size)
    size = LABELED + UNLABELED
    x = make_inputs(size * steps)
    teacher = build()
    runs["teacher"] = lambda: teacher.predict(x, batch_size=size, verbose=0)
    is_labeled = np.arange(len(x)) % size < LABELED
    y = np.where(is_labeled, labels[: len(x)], -1)
    runs["consistency"] = fit(augmented(consistency_weight=1.0), x, y, size)
    return {name: time / steps for name, time in time_in_turn(runs, rounds).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    for encoder in arguments.encoders:
        keras.utils.clear_session()
        times = time_encoder(encoder, arguments.rounds)
        parts = times["as many, labeled"] + times["teacher"]
        cells = [f"{name} {time:.2f} ms" for name, time in times.items()]
        on_top = times["consistency"] / parts
        over = times["consistency"] / times["labeled alone"]
        print(
            f"{encoder}: {', '.join(cells)}; consistency takes {over:.2f} times a "
            f"labeled step and {on_top:.2f} times its parts",
            flush=True,
        )


if __name__ == "__main__":
    main()
