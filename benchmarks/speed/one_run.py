"""Times a one-run search relative to the training of one model.

    [KERAS_BACKEND=jax] python -m benchmarks.speed.one_run

Ratios are of `fit` with validation, for searches of one and eight members, to that of
one augmented model with the same layer, timed in turn in one process.
"""

import keras
import numpy as np

import keras_modals
from benchmarks.speed import steps
from benchmarks.speed.timing import time_in_turn
from keras_modals import Policy, SharedEncoderSearch

LAYER = {
    "num_views": 2,
    "dropout": 0.0,
    "policy": Policy.constant(0.5, 0.5, repeats=1),
}
BATCH = 128


def rows(quick):
    for name, (build, make_inputs) in steps.encoders().items():
        keras.utils.clear_session()
        model = keras_modals.augment(build(), **LAYER)
        model.compile(**steps.COMPILE)
        timed = {"one model": model}
        for size in (1, 8):
            search = SharedEncoderSearch(model, size, initial="policy")
            timed[f"search of {size}"] = search
        inputs = make_inputs(BATCH * steps.STEPS[name])
        labels = np.arange(len(inputs)) % steps.CLASSES

        def fit(model, x=inputs, y=labels):
            return lambda: model.fit(
                x,
                y,
                validation_data=(x[: 2 * BATCH], y[: 2 * BATCH]),
                batch_size=BATCH,
                validation_batch_size=BATCH,
                shuffle=False,
                verbose=0,
            )

        functions = {variant: fit(model) for variant, model in timed.items()}
        medians = time_in_turn(functions, 3 if quick else 5)
        one, *searches = medians.items()
        cells = [f"{variant} {time / one[1]:.2f}" for variant, time in searches]
        yield f"{name}, one-run search over one training", ", ".join(cells)


if __name__ == "__main__":
    for what, value in rows(quick=False):
        print(what, value, sep=": ", flush=True)
