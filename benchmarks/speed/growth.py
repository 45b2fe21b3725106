"""Times how the step of a small MLP grows with classes, latents, memory and batch size.

    [KERAS_BACKEND=jax] python -m benchmarks.speed.growth

Ratios are of steps with the four operations, which read the memory, to steps of the
plain model, timed in turn in one process.
"""

import keras
import numpy as np

import keras_modals
from benchmarks.speed.timing import time_in_turn

BASE = {"classes": 10, "latents": 64, "memory": 100, "batch": 128}
STEPS = 60


def build(classes, latents):
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(128, "relu")(inputs)
    hidden = keras.layers.Dense(latents)(hidden)
    outputs = keras.layers.Dense(classes, "softmax")(hidden)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def ratio(rounds, classes, latents, memory, batch):
    keras.utils.clear_session()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch * STEPS, 64)).astype("float32")
    y = rng.integers(0, classes, len(x)).astype("int32")
    plain = build(classes, latents)
    augmented = keras_modals.augment(
        plain,
        policy=keras_modals.Policy.constant(0.5, 0.5),
        memory_size=memory,
    )

    def fit(model):
        return lambda: model.fit(x, y, batch_size=batch, verbose=0, shuffle=False)

    times = time_in_turn({"plain": fit(plain), "augmented": fit(augmented)}, rounds)
    return times["augmented"] / times["plain"]


def rows(quick):
    values = {
        "classes": (10, 1000, 20_000),
        "latents": (64, 512),
        "memory": (100, 5000),
        "batch": (128, 512),
    }
    for name, sizes in values.items():
        setting = {**BASE, **({"memory": 10} if name == "classes" else {})}
        cells = [
            f"{size:,}: {ratio(3 if quick else 9, **{**setting, name: size}):.2f}"
            for size in sizes
        ]
        yield f"mlp, four operations' step over plain, by {name}", ", ".join(cells)


if __name__ == "__main__":
    for what, value in rows(quick=False):
        print(what, value, sep=": ", flush=True)
