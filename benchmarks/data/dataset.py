"""What a loader gives, where it finds its files, and how it splits."""

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
Data.__doc__ = """A data set, split.

Attributes:
    name: Name of the data set.
    encoder: The encoder that fits, a function of `benchmarks.models`.
    outputs: Number of classes, of labels or of values.
    train, valid, test: Pairs of inputs and targets. All choices are made on `valid`;
        `test` is for the final report.
    kind: What targets are: `classes` and `positions` are int32, of a sample and of each
        of its positions, where -1 is none; `labels` are 0 or 1 in several columns;
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
    """A file that a package ships, without an import of what the package needs."""
    return pathlib.Path(importlib.metadata.distribution(package).locate_file(name))


def stratified(rng, labels, size):
    """Shuffled indices: `size` of them with every class in proportion, and the rest."""
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(2, round(size * len(members) / len(labels)))])
    chosen = rng.permutation(np.concatenate(chosen))
    rest = rng.permutation(np.setdiff1d(np.arange(len(labels)), chosen))
    return chosen, rest


def without_test(count):
    """Shuffled indices: others, and those to test, the same for every seed and never
    seen before the report."""
    order = np.random.default_rng(0).permutation(count)
    return np.split(order, [int(0.7 * count)])


def without_repeats(inputs, targets):
    """Samples whose inputs are those of an earlier one are left out."""
    rows = inputs.reshape(len(inputs), -1)
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return inputs[first], targets[first]


def without_near_repeats(marks, most):
    """Indices of samples whose marks, 0 or 1, are not those of an earlier one: of the
    marks of both, at most such a share is of both."""
    marks = marks.astype("float32")
    shared, counts = marks @ marks.T, marks.sum(1)
    near = shared > most * (counts[:, np.newaxis] + counts - shared)
    return np.flatnonzero(~np.triu(near, 1).any(0))


def drawn(rng, indices, *sizes):
    """Parts of some sizes, drawn from indices."""
    return np.split(rng.permutation(indices), np.cumsum(sizes))[: len(sizes)]


def scaled(inputs, train):
    """Inputs in units of what is known of the training part."""
    mean, deviation = inputs[train].mean(0), inputs[train].std(0)
    # What is constant in a small training part may vary elsewhere.
    return (inputs - mean) / np.where(deviation < 1e-3, 1.0, deviation)
