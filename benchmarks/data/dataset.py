"""The return type of loaders, and helpers to find files and split samples."""

import importlib.metadata
import os
import pathlib
from collections import namedtuple

import numpy as np

Data = namedtuple(
    "Data",
    ["name", "encoder", "outputs", "train", "valid", "test", "kind"],
    defaults=["classes"],
)
Data.__doc__ = """A data set, split into parts.

Attributes:
    name: Name of the data set.
    encoder: Name of a suitable encoder, a function in `benchmarks.models`.
    outputs: Number of classes, labels or values.
    train, valid, test: Pairs of inputs and targets. All choices are made on `valid`;
        `test` is for the final report.
    kind: Kind of targets. `classes` are int32, one per sample. `positions` are int32,
        one per position, with -1 for none. `labels` are 0 or 1 in several columns.
        `values` are numbers.
"""

PUBLIC_ORIGINALS = {
    "tabular/abalone.csv": "UCI Machine Learning Repository, Abalone",
    "tabular/arcene_train.data": "UCI Machine Learning Repository, Arcene",
    "tabular/arcene_train.labels": "UCI Machine Learning Repository, Arcene",
    "tabular/arcene_valid.data": "UCI Machine Learning Repository, Arcene",
    "tabular/arcene_valid.labels": "UCI Machine Learning Repository, Arcene",
    "tabular/htru2.csv": "UCI Machine Learning Repository, HTRU2",
    "audio/fsdd.npz": "Free Spoken Digit Dataset",
    "image/cifar10_reduced.npz": "CIFAR-10, 4000 training and 1000 validation images",
    "text/trec6_train.txt": "TREC question classification",
    "text/trec6_test.txt": "TREC question classification",
    "text/sst2_train.txt": "Stanford Sentiment Treebank, binary sentences",
    "text/sst2_dev.txt": "Stanford Sentiment Treebank, binary sentences",
    "text/sst2_test.txt": "Stanford Sentiment Treebank, binary sentences",
}


def find_file(name):
    folder = os.environ.get("KERAS_MODALS_DATA")
    path = pathlib.Path(folder or ".") / name
    if folder is None or not path.exists():
        raise FileNotFoundError(
            f"'{name}' was not found. Set the environment variable KERAS_MODALS_DATA "
            f"to a folder that has it; the original is: {PUBLIC_ORIGINALS[name]}. "
            f"Received: KERAS_MODALS_DATA={folder!r}"
        )
    return path


def packaged(package, name):
    """Returns the path of a file in a package, without importing the package."""
    return pathlib.Path(importlib.metadata.distribution(package).locate_file(name))


def stratified(rng, labels, size):
    """Returns shuffled indices: `size` with every class in proportion, and the rest."""
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(2, round(size * len(members) / len(labels)))])
    chosen = rng.permutation(np.concatenate(chosen))
    rest = rng.permutation(np.setdiff1d(np.arange(len(labels)), chosen))
    return chosen, rest


def without_test(count):
    """Returns shuffled indices: for training and validation, and for test. The test
    indices are the same for every seed, and are not used before the report."""
    order = np.random.default_rng(0).permutation(count)
    return np.split(order, [int(0.7 * count)])


def without_repeats(inputs, targets):
    """Drops samples with the same inputs as an earlier one."""
    rows = inputs.reshape(len(inputs), -1)
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return inputs[first], targets[first]


def without_near_repeats(marks, most):
    """Returns indices of samples that are not similar to an earlier one: the Jaccard
    similarity of their marks, 0 or 1, is at most `most`."""
    marks = marks.astype("float32")
    shared, counts = marks @ marks.T, marks.sum(1)
    near = shared > most * (counts[:, np.newaxis] + counts - shared)
    return np.flatnonzero(~np.triu(near, 1).any(0))


def drawn(rng, indices, *sizes):
    """Draws disjoint parts of the given sizes from indices."""
    return np.split(rng.permutation(indices), np.cumsum(sizes))[: len(sizes)]


def scaled(inputs, train):
    """Standardizes inputs by statistics of the training part."""
    mean, deviation = inputs[train].mean(0), inputs[train].std(0)
    # A feature that is constant in a small training part may vary elsewhere.
    return (inputs - mean) / np.where(deviation < 1e-3, 1.0, deviation)
