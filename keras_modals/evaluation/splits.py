"""The data of a comparison: training, validation and test samples for each seed."""

import zlib
from collections.abc import Mapping

import keras
import numpy as np
from sklearn.model_selection import train_test_split

from keras_modals.evaluation.trial import as_indices, take
from keras_modals.labels import check_label_array

PARTS = ("train", "validation", "test")


def make_loader(data, splits):
    """`fn(seed)` that returns a dict of the three parts, and maybe `"test_id"`."""
    if callable(data):
        return lambda seed: _check_parts(data(seed))
    if isinstance(data, Mapping):
        parts = _check_parts(data)
        return lambda seed: parts
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise ValueError(
            "Invalid value received for argument `data`. Expected `(x, y)`, a dict of "
            f"such pairs, or a function of a seed. Received: {type(data)}"
        )
    if len(splits) != 2 or min(splits) <= 0 or sum(splits) >= 1:
        raise ValueError(
            "Invalid value received for argument `splits`. Expected two positive "
            f"shares that leave some for training. Received: splits={splits}"
        )
    _check_pair("data", data)
    labels = as_indices(data[1])

    def split(seed):
        rest, test = train_test_split(
            np.arange(len(labels)),
            test_size=splits[1],
            stratify=labels,
            random_state=seed,
        )
        train, validation = train_test_split(
            rest,
            test_size=splits[0] / (1 - splits[1]),
            stratify=labels[rest],
            random_state=seed,
        )
        indices = {"train": train, "validation": validation, "test": test}
        return {name: take(tuple(data), chosen) for name, chosen in indices.items()}

    return split


def _check_parts(parts):
    if any(name not in parts for name in PARTS):
        raise ValueError(
            'Split data must have "train", "validation" and "test". '
            f"Received: {list(parts)}"
        )
    for name in PARTS:
        _check_pair(name, parts[name])
    labels = parts["test"][1]
    if len(parts.get("test_id", labels)) != len(labels):
        raise ValueError(
            '"test_id" must have an entry for every test sample. Received: '
            f"{len(parts['test_id'])} entries for {len(labels)} samples"
        )
    return parts


def _check_pair(name, pair):
    x, y = pair
    counts = {len(array) for array in keras.tree.flatten(x)}
    if counts != {len(y)}:
        raise ValueError(
            f"Inputs and targets must have as many samples. Received: {name} with "
            f"{sorted(counts)} inputs and {len(y)} targets"
        )
    targets = np.asarray(y)
    if targets.dtype.kind in "biuf" and np.all(np.isfinite(targets)):
        check_label_array(targets, _width(targets))
    else:
        check_label_array(targets, 2)


def _width(targets):
    """The number of classes that an array of targets knows of, at least 2."""
    if targets.ndim == 2 and targets.shape[1] > 1:
        return targets.shape[1]
    return max(2, 1 + int(targets.max(initial=0)))


def count_classes(parts):
    return max(_width(np.asarray(parts[name][1])) for name in PARTS)


def is_split(data):
    """Whether `data` come with their test samples."""
    return callable(data) or isinstance(data, Mapping)


def checksum(arrays):
    """A number for the values of arrays, or of a structure of them."""
    number = 0
    for array in map(np.asarray, keras.tree.flatten(arrays)):
        if array.dtype.kind == "O":
            array = array.astype(str)
        kind = f"{array.dtype}{array.shape}".encode()
        number = zlib.crc32(array.tobytes(), zlib.crc32(kind, number))
    return number
