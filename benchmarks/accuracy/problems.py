"""Data sets with an encoder each, as `keras_modals.compare` takes them."""

from collections import namedtuple

import keras

from benchmarks import data, models

Problem = namedtuple("Problem", ["build_fn", "load", "epochs", "batch_size"])
Problem.__doc__ = """A data set and a model.

Attributes:
    build_fn: `fn()` that returns a compiled model.
    load: `fn(seed)` that returns a dict of training, validation and test samples.
    epochs, batch_size: Of a training.
"""

EPOCHS = {
    "mlp": 60,
    "cnn_1d": 60,
    "cnn_2d": 20,
    "residual_1d": 60,
    "bilstm": 20,
    "masked_bilstm": 20,
    "transformer": 40,
}
EPOCHS_OF_FULL_TEXT = 6
#: With batches of 50, it would take 80 steps, and not learn.
BATCH_OF_MNIST = 20


def problem(name, tuning=False):
    """A data set by name; `name/transformer` for another encoder, `name:0.5` for a
    share of its training samples, `name@180` for another number of epochs, in this
    order. For `tuning`, half of the validation samples take the place of the test
    samples."""
    name, _, longer = name.partition("@")
    name, _, share = name.partition(":")
    name, _, encoder = name.partition("/")
    share = float(share or 1)
    example = data.load(name)
    shape, encoder = example.train[0].shape[1:], encoder or example.encoder
    if encoder not in EPOCHS:
        raise ValueError(
            f"Unknown encoder. Expected one of {list(EPOCHS)}: {encoder!r}"
        )

    def build():
        model = getattr(models, encoder)(shape, example.num_classes)
        optimizer = keras.optimizers.Adam(1e-3, clipnorm=5.0)
        loss = "sparse_categorical_crossentropy"
        model.compile(optimizer, loss, metrics=["accuracy"])
        return model

    def load(seed):
        dataset = data.load(name, seed)
        x, y = dataset.train
        x_valid, y_valid = dataset.valid
        # Who has few samples to train with has few to choose by.
        size = max(len(x), 100)
        test = dataset.test
        if tuning:
            size = min(size, len(x_valid) // 2)
            test = x_valid[size:][:1500], y_valid[size:][:1500]
        return {
            "train": (x[: round(share * len(x))], y[: round(share * len(y))]),
            "validation": (x_valid[:size], y_valid[:size]),
            "test": test,
            # Inputs are scaled by each seed's training samples.
            "test_id": test[1],
        }

    epochs = EPOCHS[encoder]
    batch_size = min(50, round(share * len(example.train[0])) // 2)
    if name.endswith("full"):
        epochs, batch_size = EPOCHS_OF_FULL_TEXT, 100
    elif name.startswith("mnist"):
        batch_size = BATCH_OF_MNIST
    return Problem(build, load, int(longer or epochs), batch_size)
