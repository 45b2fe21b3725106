"""Loads the benchmark's data sets: small training parts, validation and test parts.

Files are looked for in the folder that the environment variable `KERAS_MODALS_DATA`
names. `digits`, `breast` and `wine` come with scikit-learn and need none.
"""

import itertools
import os
import pathlib
from collections import Counter, namedtuple

import numpy as np

Data = namedtuple("Data", ["name", "encoder", "num_classes", "train", "valid", "test"])
Data.__doc__ = """A data set, split.

Attributes:
    name: Name of the data set.
    encoder: The kind of encoder that fits: `mlp`, `cnn_1d`, `cnn_2d` or `bilstm`.
    num_classes: Number of classes.
    train, valid, test: Pairs of inputs and int32 labels. All choices are made on
        `valid`; `test` is for the final report.
"""

PUBLIC_ORIGINALS = {
    "tabular/abalone.csv": "UCI Machine Learning Repository, Abalone",
    "tabular/htru2.csv": "UCI Machine Learning Repository, HTRU2",
    "audio/fsdd.npz": "Free Spoken Digit Dataset",
    "image/cifar10_reduced.npz": "CIFAR-10, 4000 training and 1000 validation images",
    "text/trec6_train.txt": "TREC question classification",
    "text/trec6_test.txt": "TREC question classification",
    "text/sst2_train.txt": "Stanford Sentiment Treebank, binary sentences",
    "text/sst2_dev.txt": "Stanford Sentiment Treebank, binary sentences",
    "text/sst2_test.txt": "Stanford Sentiment Treebank, binary sentences",
}


def load(name, seed=0):
    """Loads a data set by name, with a training part drawn by `seed`."""
    return LOADERS[name](np.random.default_rng(seed))


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


def _stratified(rng, labels, size):
    """Shuffled indices: `size` of them with every class in proportion, and the rest."""
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(2, round(size * len(members) / len(labels)))])
    chosen = rng.permutation(np.concatenate(chosen))
    rest = rng.permutation(np.setdiff1d(np.arange(len(labels)), chosen))
    return chosen, rest


def _tabular(name, inputs, labels, size, rng):
    inputs = np.asarray(inputs, "float32")
    labels = np.asarray(labels, "int32")
    # The test part is the same for every seed, and never seen before the report.
    pool, test = np.split(
        np.random.default_rng(0).permutation(len(labels)), [int(0.7 * len(labels))]
    )
    train, rest = _stratified(rng, labels[pool], size)
    train, valid = pool[train], pool[rest]
    mean, deviation = inputs[train].mean(0), inputs[train].std(0)
    # What is constant in a small training part may vary elsewhere.
    inputs = (inputs - mean) / np.where(deviation < 1e-3, 1.0, deviation)
    parts = [(inputs[part], labels[part]) for part in (train, valid, test)]
    return Data(name, "mlp", int(labels.max()) + 1, *parts)


def _sklearn(name, size):
    def load_(rng):
        from sklearn import datasets

        loader = {
            "digits": datasets.load_digits,
            "breast": datasets.load_breast_cancer,
            "wine": datasets.load_wine,
        }[name]
        return _tabular(name, *loader(return_X_y=True), size, rng)

    return load_


def _htru2(rng):
    table = np.loadtxt(find_file("tabular/htru2.csv"), delimiter=",", skiprows=1)
    return _tabular("htru2", table[:, :-1], table[:, -1], 300, rng)


def _abalone(rng):
    path = find_file("tabular/abalone.csv")
    rows = [line.split(",") for line in path.read_text().split("\n") if line]
    if not rows[0][-1].strip().isdigit():
        rows = rows[1:]
    sex = np.array([[row[0] == "M", row[0] == "F", row[0] == "I"] for row in rows])
    numbers = np.array([row[1:] for row in rows], "float32")
    labels = np.digitize(numbers[:, -1], [8.5, 10.5])
    inputs = np.concatenate([sex, numbers[:, :-1]], axis=1)
    return _tabular("abalone", inputs, labels, 300, rng)


def _fsdd(rng):
    archive = np.load(find_file("audio/fsdd.npz"))
    samples, offsets = archive["samples"], archive["offsets"]
    series = [samples[a:b] for a, b in itertools.pairwise(offsets)]
    inputs = np.stack([_log_spectrogram(sound) for sound in series])
    labels = archive["labels"].astype("int32")
    is_test = archive["indices"] < 5
    pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    train, rest = _stratified(rng, labels[pool], 300)
    parts = (pool[train], pool[rest], test)
    mean, deviation = inputs[parts[0]].mean(), inputs[parts[0]].std()
    inputs = (inputs - mean) / deviation
    return Data("fsdd", "cnn_1d", 10, *[(inputs[part], labels[part]) for part in parts])


def _log_spectrogram(sound, window=256, hop=128, bands=40, frames=48):
    sound = sound.astype("float32") / 32768
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    starts = np.arange(0, len(sound) - window + 1, hop)
    pieces = np.stack([sound[start : start + window] for start in starts])
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)) ** 2
    edges = np.unique(np.geomspace(1, window // 2, bands + 1).round().astype(int))
    energy = np.add.reduceat(power, edges[:-1], axis=1)
    result = np.log(energy + 1e-6)[:frames]
    return np.pad(
        result, ((0, frames - len(result)), (0, 0)), constant_values=np.log(1e-6)
    ).astype("float32")


def _cifar10(rng):
    archive = np.load(find_file("image/cifar10_reduced.npz"))
    parts = []
    train, _ = _stratified(rng, archive["y_train"].ravel(), 1000)
    for part, chosen in (
        ("train", train),
        ("valid", slice(None)),
        ("test", slice(None)),
    ):
        inputs = archive[f"x_{part}"][chosen].astype("float32") / 127.5 - 1.0
        parts.append((inputs, archive[f"y_{part}"].ravel()[chosen].astype("int32")))
    return Data("cifar10", "cnn_2d", 10, *parts)


def _read_text(name, encoding):
    lines = find_file(name).read_text(encoding=encoding).strip().split("\n")
    pairs = [line.split(" ", 1) for line in lines]
    labels = np.array([int(label) for label, _ in pairs], "int32")
    return [text.split() for _, text in pairs], labels


def _trec6(rng):
    texts, labels = _read_text("text/trec6_train.txt", "latin-1")
    test = _read_text("text/trec6_test.txt", "latin-1")
    train, rest = _stratified(rng, labels, 545)
    parts = [([texts[i] for i in part], labels[part]) for part in (train, rest[:1500])]
    return _text("trec6", *parts, test)


def _sst2(rng):
    texts, labels = _read_text("text/sst2_train.txt", "utf-8")
    train, _ = _stratified(rng, labels, 692)
    return _text(
        "sst2",
        ([texts[i] for i in train], labels[train]),
        _read_text("text/sst2_dev.txt", "utf-8"),
        _read_text("text/sst2_test.txt", "utf-8"),
    )


def _text(name, *parts, vocabulary=2000, length=30):
    counts = Counter(word for text in parts[0][0] for word in text)
    known = [word for word, _ in counts.most_common(vocabulary - 2)]
    numbers = {word: index + 2 for index, word in enumerate(known)}
    encoded = []
    for texts, labels in parts:
        rows = np.zeros((len(texts), length), "int32")
        for row, text in zip(rows, texts, strict=True):
            words = [numbers.get(word, 1) for word in text[:length]]
            row[length - len(words) :] = words
        encoded.append((rows, labels))
    return Data(name, "bilstm", int(encoded[0][1].max()) + 1, *encoded)


LOADERS = {
    "digits": _sklearn("digits", 199),
    "breast": _sklearn("breast", 80),
    "wine": _sklearn("wine", 45),
    "htru2": _htru2,
    "abalone": _abalone,
    "fsdd": _fsdd,
    "cifar10": _cifar10,
    "trec6": _trec6,
    "sst2": _sst2,
}
