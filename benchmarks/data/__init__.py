"""Loads the benchmark data sets: a small training part, and validation and test parts.

Files are read from the folder in the environment variable `KERAS_MODALS_DATA`. Data
sets that ship with packages do not need it.
"""

import numpy as np

from benchmarks.data import images, series, tables, texts
from benchmarks.data.dataset import Data

__all__ = ["LOADERS", "Data", "load", "long_tailed"]


def load(name, seed=0):
    """Loads a data set by name, with a training part drawn by `seed`."""
    if name not in LOADERS:
        raise ValueError(f"Unknown data. Expected one of {list(LOADERS)}: {name!r}")
    loader, expected = LOADERS[name]
    dataset = loader(np.random.default_rng(seed))
    parts = dataset.train, dataset.valid, dataset.test
    (x, y), (_, y_valid), (_, y_test) = parts
    counts = tuple(_counts(dataset, y_test).tolist())
    found = (x.shape[1:], len(y), len(y_valid), counts)
    # The size of each class in a training part is rounded.
    near = np.abs(np.subtract(found[1:3], expected[1:3])) <= 3
    if (found[0], counts) != (expected[0], expected[3]) or not near.all():
        raise ValueError(
            f"'{name}' is not what it should be: input shape, samples to train and to "
            f"validate, and to test of each class {found}, not {expected}"
        )
    if not all(np.all(np.isfinite(x)) for x, _ in parts):
        raise ValueError(f"'{name}' has inputs that are not numbers")
    if not all(np.all(_counts(dataset, y)) for _, y in parts):
        raise ValueError(f"A part of '{name}' lacks a class")
    return dataset


def _counts(dataset, targets):
    """Counts the samples or positions with each class or label, or the values below and
    above the mean."""
    if dataset.kind == "labels":
        return targets.sum(axis=0)
    if dataset.kind == "values":
        return np.bincount(targets > 0, minlength=2)
    return np.bincount(targets[targets >= 0], minlength=dataset.outputs)


def long_tailed(name, most, ratio=100):
    """Returns a loader of a long-tailed data set. The most frequent class has `ratio`
    times the training samples of the rarest. The seed draws the order of the classes.
    """

    def load_(rng):
        dataset = LOADERS[name][0](np.random.default_rng(0))
        x, y = (np.concatenate(part) for part in zip(dataset.train, dataset.valid))
        classes = dataset.outputs
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


_TREC6, _SST2 = (138, 94, 9, 65, 81, 113), (912, 909)
_WATCH = (56, 83, 85, 81, 81, 64, 66)
_DIGITS = (56, 55, 62, 46, 61, 56, 56, 46, 46, 56)
_LEAVES = (27, 23, 21, 27, 27, 22, 23, 26, 30, 27, 22, 26, 32, 22, 26, 23)
_LEAVES += (25, 26, 23, 23, 25, 26, 28, 23, 25, 24, 23, 23, 22, 31, 22, 25)
_SILHOUETTES = (96, 84, 100, 103, 103, 104, 104, 103, 100, 104)
_RADICALS = (93, 93, 83, 92, 152, 149, 68, 130, 60, 81)

#: Name to the loader, and what it must find: the shape of an input, the numbers of
#: training and validation samples, and the number of test samples of each class, which
#: is the same for every seed.
LOADERS = {
    "iris": (tables.scikit_learn("iris", 30), ((4,), 30, 75, (13, 17, 15))),
    "breast": (tables.scikit_learn("breast", 80), ((30,), 80, 318, (67, 104))),
    "wine": (tables.scikit_learn("wine", 45), ((13,), 45, 79, (18, 24, 12))),
    "digits": (tables.scikit_learn("digits", 199), ((64,), 199, 1058, _DIGITS)),
    "abalone": (tables.abalone, ((10,), 300, 2623, (417, 407, 430))),
    "htru2": (tables.htru2, ((8,), 300, 12228, (4896, 474))),
    "arcene": (tables.arcene, ((10000,), 60, 40, (56, 44))),
    "watch": (series.watch, ((128, 6), 140, 140, _WATCH)),
    "fsdd": (series.fsdd, ((48, 30), 300, 2400, (30,) * 10)),
    "mnist": (images.mnist, ((28, 28, 1), 200, 1000, (150,) * 10)),
    "fsdd_tail": (long_tailed("fsdd", 200), ((48, 30), 498, 200, (30,) * 10)),
    "mnist_tail": (long_tailed("mnist", 70), ((28, 28, 1), 173, 200, (150,) * 10)),
    "cifar10_tail": (
        long_tailed("cifar10", 180),
        ((32, 32, 3), 448, 200, (1000,) * 10),
    ),
    "cifar10": (images.cifar10, ((32, 32, 3), 1000, 1000, (1000,) * 10)),
    "trec6": (texts.trec6(texts.words, 545), ((30,), 545, 1500, _TREC6)),
    "trec6_full": (texts.trec6(texts.words), ((30,), 4951, 501, _TREC6)),
    "trec6_sentences": (
        texts.trec6(texts.sentences, 545),
        ((384,), 545, 1500, _TREC6),
    ),
    "sst2": (texts.sst2(texts.words, 692), ((30,), 692, 872, _SST2)),
    "sst2_full": (texts.sst2(texts.words), ((30,), 6920, 872, _SST2)),
    "sst2_sentences": (texts.sst2(texts.sentences, 692), ((384,), 692, 872, _SST2)),
    "leaves": (tables.leaves, ((49,), 322, 787, _LEAVES)),
    "vowels": (tables.vowels, ((10,), 396, 132, (42,) * 11)),
    "japanese_vowels": (
        series.japanese_vowels,
        ((29, 12), 90, 180, (31, 35, 88, 44, 29, 24, 40, 50, 29)),
    ),
    "crops": (series.crops, ((100, 1), 300, 300, (200, 200, 88, 200, 200))),
    "silhouettes": (images.silhouettes, ((28, 28, 1), 202, 1000, _SILHOUETTES)),
    "radicals": (images.radicals, ((24, 24, 1), 301, 1000, _RADICALS)),
    "languages": (texts.languages, ((20,), 300, 300, (100,) * 6)),
    "splice": (texts.splice, ((30,), 200, 1000, (162, 167, 503))),
    # Values: the numbers of test targets below and above the mean
    "diabetes": (tables.diabetes, ((10,), 150, 159, (71, 62))),
    "mpg": (tables.mpg, ((7,), 100, 174, (53, 65))),
    "concrete": (tables.concrete, ((8,), 200, 494, (154, 144))),
    "rings": (tables.rings, ((10,), 300, 2623, (632, 622))),
    "tecator": (series.tecator, ((98, 1), 80, 55, (41, 17))),
    # Several labels
    "yeast": (
        tables.yeast,
        (
            (103,),
            300,
            1391,
            (227, 324, 303, 255, 217, 171, 130, 142, 53, 68, 78, 532, 525, 10),
        ),
    ),
    "mnist_several": (
        images.several,
        ((40, 40, 1), 300, 300, (73, 77, 78, 72, 87, 83, 69, 62, 72, 72)),
    ),
    "fsdd_voices": (
        series.voices,
        ((56, 30), 300, 300, (28, 29, 27, 28, 30, 28, 28, 27, 30, 29)),
    ),
    "turkish_forms": (
        texts.turkish_forms,
        (
            (12,),
            500,
            1500,
            (
                97,
                496,
                123,
                90,
                93,
                162,
                200,
                1012,
                174,
                933,
                149,
                223,
                279,
                767,
                120,
                351,
            ),
        ),
    ),
    # A label for each position
    "turkish_words": (
        texts.turkish_words,
        (
            (32,),
            400,
            1373,
            (643, 307, 384, 329, 287, 3580, 144, 232, 144, 1089, 2328, 89),
        ),
    ),
    "japanese_names": (
        texts.japanese_names,
        ((32,), 250, 100, (55, 233, 203, 3008, 125, 92)),
    ),
    "fsdd_frames": (
        series.frames,
        ((96, 30), 100, 100, (762, 669, 646, 654, 682, 744, 773, 773, 719, 841, 2337)),
    ),
    "mnist_on_photos": (images.on_photos, ((32, 32, 3), 100, 100, (365101, 44499))),
    "fsdd_persons": (series.persons, ((48, 32, 1), 100, 100, (42016, 19301, 15483))),
    "nuclei": (images.nuclei, ((64, 64, 1), 16, 16, (102958, 19667, 8447))),
}
