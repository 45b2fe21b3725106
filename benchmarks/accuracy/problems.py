"""Data sets, each with an encoder, in the form that `keras_modals.compare` takes."""

from collections import namedtuple

import keras
import numpy as np

from benchmarks import data, models

Problem = namedtuple("Problem", ["build_fn", "load", "epochs", "batch_size"])
Problem.__doc__ = """A data set and a model.

Attributes:
    build_fn: `fn()` that returns a compiled model.
    load: `fn(seed)` that returns a dict of training, validation and test samples.
    epochs, batch_size: Integers, for one training.
"""

EPOCHS = {
    "linear": 60,
    "mlp": 60,
    "cnn_1d": 60,
    "cnn_2d": 20,
    "cnn_2d_max": 20,
    "residual_1d": 60,
    "residual_2d": 20,
    "vision_transformer": 40,
    "bilstm": 20,
    "masked_bilstm": 20,
    "transformer": 40,
    "transformer_tagger": 20,
    "lstm_tagger": 15,
    "convolutional_tagger": 40,
    "unet": 20,
}
EPOCHS_OF_FULL_TEXT = 6
#: Batch sizes for data sets where batches of 50 would give too few training steps.
BATCHES = {
    "mnist": 20,
    "mnist_tail": 20,
    "mnist_several": 20,
    "silhouettes": 20,
    "radicals": 20,
    "languages": 20,
    "japanese_names": 16,
    "turkish_words": 32,
    "fsdd_frames": 20,
    "fsdd_persons": 20,
    "mnist_on_photos": 20,
    "nuclei": 4,
}
#: Kind of targets to the activation of the head, the loss and the metric. The loss of
#: positions takes logits, since Keras 3.15 cannot train pixels on PyTorch otherwise
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


#: Number of steps of a training with few labels, and the minimum number in each epoch.
#: Shorter epochs would take less time than what Keras does between epochs.
STEPS_OF_FEW = 2000
STEPS_OF_AN_EPOCH = 20
#: Maximum number of unlabeled samples.
MOST_UNLABELED = 1000


def problem(name, tuning=False):
    """Returns the problem with the name of a data set.

    The name may have suffixes, in this order: `name/transformer` for another encoder;
    `name:0.5` for a share of the training samples, or `name+100` for 100 labeled
    samples and the others unlabeled; `name@180` for another number of epochs; and
    `name~50` for 50 validation samples. With `tuning`, half of the validation samples
    replace the test samples.
    """
    name, _, validated = name.partition("~")
    name, _, longer = name.partition("@")
    name, _, labels = name.partition("+")
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
        # With few training samples, there are few validation samples, too.
        size = int(validated) if validated else max(len(x), 100)
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

    if labels:
        return _with_few_labels(name, build, int(labels), int(longer or 0), tuning)
    epochs = EPOCHS[encoder]
    size = round(share * len(example.train[0])) // 2
    batch_size = BATCHES.get(name, min(50, size))
    if name.endswith("full"):
        epochs, batch_size = EPOCHS_OF_FULL_TEXT, 100
    return Problem(build, load, int(longer or epochs), batch_size)


def _with_few_labels(name, build, count, epochs, tuning):
    """Returns a problem with `count` labels, balanced among classes if possible, 100
    validation samples, and unlabeled samples from the same data set."""

    def load(seed):
        dataset = data.load(name, seed)
        x, y = dataset.train
        (x_valid, y_valid), test = dataset.valid, dataset.test
        size = min(100, len(x_valid) // 3)
        rest = x_valid[size:], y_valid[size:]
        if tuning:
            half = min(1500, len(rest[0]) // 2)
            test = rest[0][:half], rest[1][:half]
            rest = rest[0][half:], rest[1][half:]
        if count > len(y):
            x, y = (np.concatenate(pair) for pair in zip((x, y), rest, strict=True))
            rest = x[:0], y[:0]
        labeled = _first_of_each(y, count, dataset.kind)
        others = np.setdiff1d(np.arange(len(y)), labeled)
        # Repeat all, so that "all labels" sees each sample equally often.
        labeled = np.repeat(labeled, times)
        unlabeled = tuple(
            np.repeat(np.concatenate([mine[others], more])[:MOST_UNLABELED], times, 0)
            for mine, more in zip((x, y), rest, strict=True)
        )
        return {
            "train": (x[labeled], y[labeled]),
            "validation": (x_valid[:size], y_valid[:size]),
            "test": test,
            "test_id": test[1],
            "unlabeled": unlabeled,
        }

    batch_size = min(25, count // 4)
    times = -(-STEPS_OF_AN_EPOCH * batch_size // count)
    steps = -(-times * count // batch_size)
    return Problem(build, load, epochs or STEPS_OF_FEW // steps, batch_size)


def _first_of_each(y, count, kind):
    """Returns the indices of the first samples, taken from each class in turn."""
    if kind != "classes":
        return np.arange(count)
    places = [np.flatnonzero(y == label) for label in np.unique(y)]
    order = [p[i] for i in range(len(y)) for p in places if i < len(p)]
    return np.sort(order[:count])
