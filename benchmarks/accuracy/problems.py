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
    "cnn_2d_max": 20,
    "residual_1d": 60,
    "bilstm": 20,
    "masked_bilstm": 20,
    "transformer": 40,
    "transformer_tagger": 20,
    "lstm_tagger": 15,
    "convolutional_tagger": 40,
    "unet": 20,
}
EPOCHS_OF_FULL_TEXT = 6
#: Where batches of 50 would be too few steps to learn in.
BATCHES = {
    "mnist": 20,
    "mnist_tail": 20,
    "mnist_several": 20,
    "japanese_names": 16,
    "turkish_words": 32,
    "fsdd_frames": 20,
    "fsdd_persons": 20,
    "mnist_on_photos": 20,
    "nuclei": 4,
}
#: By the kind of targets: the activation of the head, its loss and its metric. Of
#: positions the loss takes logits: on PyTorch, Keras 3.15 cannot train pixels otherwise
#: (https://github.com/pytorch/pytorch/issues/175084).
KINDS = {
    "classes": ("softmax", "sparse_categorical_crossentropy", "accuracy"),
    "values": ("linear", "mean_squared_error", "root_mean_squared_error"),
    "labels": ("sigmoid", "binary_crossentropy", "binary_accuracy"),
    "positions": (
        "linear",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
        "accuracy",
    ),
}


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

    activation, loss, metric = KINDS[example.kind]

    def build():
        model = getattr(models, encoder)(shape, example.outputs, activation)
        optimizer = keras.optimizers.Adam(1e-3, clipnorm=5.0)
        model.compile(optimizer, loss, metrics=[metric])
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
    size = round(share * len(example.train[0])) // 2
    batch_size = BATCHES.get(name, min(50, size))
    if name.endswith("full"):
        epochs, batch_size = EPOCHS_OF_FULL_TEXT, 100
    return Problem(build, load, int(longer or epochs), batch_size)
