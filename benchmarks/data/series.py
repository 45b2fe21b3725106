"""Series: sounds, movements and spectra."""

import itertools

import numpy as np

from benchmarks.data.dataset import (
    Data,
    drawn,
    find_file,
    packaged,
    scaled,
    stratified,
    without_repeats,
    without_test,
)


def fsdd(rng):
    sounds, labels, is_test, _ = _spoken_digits()
    inputs = np.stack([_log_spectrogram(sound) for sound in sounds])
    pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    train, rest = stratified(rng, labels[pool], 300)
    parts = (pool[train], pool[rest], test)
    mean, deviation = inputs[parts[0]].mean(), inputs[parts[0]].std()
    inputs = (inputs - mean) / deviation
    return Data("fsdd", "cnn_1d", 10, *[(inputs[part], labels[part]) for part in parts])


def _spoken_digits():
    """Returns sounds, digits, flags of the standard test part, and speakers."""
    archive = np.load(find_file("audio/fsdd.npz"))
    samples, offsets = archive["samples"], archive["offsets"]
    sounds = [
        samples[a:b].astype("float32") / 32768 for a, b in itertools.pairwise(offsets)
    ]
    labels = archive["labels"].astype("int32")
    return sounds, labels, archive["indices"] < 5, archive["speakers"]


def _log_spectrogram(sound, frames=48):
    energies = np.log(_energies(sound) + 1e-6)[:frames]
    return np.pad(
        energies, ((0, frames - len(energies)), (0, 0)), constant_values=np.log(1e-6)
    ).astype("float32")


def _energies(sound, window=256, hop=128, bands=40):
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    starts = np.arange(0, len(sound) - window + 1, hop)
    pieces = np.stack([sound[start : start + window] for start in starts])
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)) ** 2
    edges = np.unique(np.geomspace(1, window // 2, bands + 1).round().astype(int))
    return np.add.reduceat(power, edges[:-1], axis=1)


def watch(rng, window=128):
    """Loads shoulder exercises in windows of 2.6 seconds. Each person is in one part
    only."""
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
    chosen, _ = stratified(rng, labels[train], 140)
    valid = np.flatnonzero(np.isin(people, others[4:]))
    kept, _ = stratified(rng, labels[valid], 140)
    indices = train[chosen], valid[kept], np.flatnonzero(np.isin(people, test))
    mean, deviation = (f(inputs[indices[0]], axis=(0, 1)) for f in (np.mean, np.std))
    inputs = (inputs - mean) / deviation
    return Data("watch", "cnn_1d", 7, *[(inputs[i], labels[i]) for i in indices])


def japanese_vowels(rng, length=29):
    """Loads two Japanese vowels said by nine men, the classes, as 12 cepstral
    coefficients. The test part is the standard one. Source: UCI Machine Learning
    Repository, Japanese Vowels (Kudo, Toyama and Shimbo; CC BY 4.0)."""
    (sounds, labels), (tested, test_labels) = map(_japanese_vowels, ("TRAIN", "TEST"))
    train, rest = stratified(rng, labels, 90)
    known = np.concatenate([sounds[i] for i in train])
    mean, deviation = known.mean(0), known.std(0)
    parts = []
    for some, targets in (
        ([sounds[i] for i in train], labels[train]),
        ([sounds[i] for i in rest], labels[rest]),
        (tested, test_labels),
    ):
        x = np.zeros((len(some), length, 12), "float32")
        for row, sound in zip(x, some, strict=True):
            row[: len(sound)] = (sound - mean) / deviation
        parts.append((x, targets))
    return Data("japanese_vowels", "cnn_1d", 9, *parts)


def _japanese_vowels(part):
    """Returns sounds of different lengths, and speakers."""
    name = f"sktime/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    lines = packaged("sktime", name).read_text("utf-8").strip().split("\n")
    sounds, labels = [], []
    for line in lines[lines.index("@data") + 1 :]:
        *channels, label = line.split(":")
        sounds.append(np.array([i.split(",") for i in channels], "float32").T)
        labels.append(int(label) - 1)
    return sounds, np.array(labels, "int32")


def crops(rng):
    """Loads spectra of the ground seen from the air. Classes are corn, soybeans,
    pasture, trees and woods. Each field is in one part only. Source: Indian Pines
    (Baumgardner, Biehl and Landgrebe, 2015; CC BY 3.0)."""
    from scipy import ndimage

    spectra, covers = (
        np.load(packaged("tensorly", f"tensorly/datasets/data/Indian_pines_{name}.npy"))
        for name in ("corrected", "gt")
    )
    train, valid, test = [], [], []
    labels = np.zeros(covers.size, "int32")
    for label, kinds in enumerate(((2, 3, 4), (10, 11, 12), (5,), (6,), (14,))):
        fields = []
        for kind in kinds:
            places, count = ndimage.label(covers == kind)
            fields += [np.flatnonzero(places == i + 1) for i in range(count)]
        fields = sorted((field for field in fields if len(field) > 50), key=len)
        # A third of the fields, including the second largest, is for test.
        tested = np.arange(len(fields))[-2::-3]
        others = rng.permutation(np.setdiff1d(np.arange(len(fields)), tested))
        count = max(1, len(others) // 3)
        for part, some, most, draw in (
            (train, others[count:], 60, rng),
            (valid, others[:count], 60, rng),
            (test, tested, 200, np.random.default_rng(0)),
        ):
            places = np.concatenate([fields[i] for i in some])
            part.append(draw.permutation(places)[:most])
            labels[part[-1]] = label
    indices = [rng.permutation(np.concatenate(i)) for i in (train, valid)]
    indices.append(np.concatenate(test))
    # Neighboring bands are alike.
    spectra = spectra.reshape(-1, 200)[:, ::2].astype("float32")
    spectra = scaled(spectra, indices[0])[..., np.newaxis]
    return Data("crops", "cnn_1d", 5, *[(spectra[i], labels[i]) for i in indices])


def tecator(rng):
    """Loads the share of fat in meat, and the light that the meat absorbs."""
    from sktime.datasets import load_tecator

    spectra, fat = load_tecator(return_X_y=True, return_type="numpy3d")
    spectra, fat = without_repeats(spectra.transpose(0, 2, 1), fat)
    # The curvature of a spectrum is more informative than its level.
    spectra = np.diff(spectra, n=2, axis=1).astype("float32")
    pool, test = without_test(len(fat))
    fat = ((fat - fat[pool].mean()) / fat[pool].std()).astype("float32")
    train, rest = np.split(rng.permutation(pool), [80])
    mean, deviation = spectra[train].mean(), spectra[train].std()
    spectra = (spectra - mean) / deviation
    parts = [(spectra[part], fat[part]) for part in (train, rest, test)]
    return Data("tecator", "cnn_1d", 1, *parts, "values")


# Made of several spoken digits -----------------------------------------------------


def mixed(make, encoder, outputs, kind, sizes):
    """Returns a loader of sounds composed of several recordings, each used once."""

    def load(rng):
        sounds, labels, is_test, speakers = _spoken_digits()
        # Make all sounds equally loud.
        sounds = [sound / (sound**2).mean() ** 0.5 for sound in sounds]
        pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        test = np.random.default_rng(0).permutation(test)
        train, valid = drawn(rng, pool, 1350, 1350)
        parts = []
        for indices, size, draw in (
            (train, sizes[0], rng),
            (valid, sizes[1], rng),
            (test, sizes[2], np.random.default_rng(0)),
        ):
            left = list(indices)
            samples = [make(draw, left, sounds, labels, speakers) for _ in range(size)]
            x, y = (np.stack(each) for each in zip(*samples, strict=True))
            parts.append((x.astype("float32"), y.astype("int32")))
        mean, deviation = parts[0][0].mean(), parts[0][0].std()
        parts = [((x - mean) / deviation, y) for x, y in parts]
        name = f"fsdd_{make.__name__.strip('_')}"
        return Data(name, encoder, outputs, *parts, kind)

    return load


def _voices(rng, left, sounds, labels, speakers, frames=56):
    """Returns one to three simultaneous digits, and their labels."""
    sound, said = np.zeros(frames * 128 + 128), np.zeros(10)
    for _ in range(rng.integers(1, 4)):
        index, start = left.pop(), rng.integers(1000)
        piece = sounds[index][: len(sound) - start]
        sound[start : start + len(piece)] += piece
        said[labels[index]] = 1
    return _log_spectrogram(0.1 * sound, frames), said


def _frames(rng, left, sounds, labels, speakers, frames=96):
    """Returns three digits in sequence, and the digit in each frame, 10 for none."""
    sound = 0.03 * rng.normal(size=frames * 128 + 128)
    said, start = np.full(len(sound), 10), 0
    for _ in range(3):
        index, start = left.pop(), start + rng.integers(300, 1500)
        piece = sounds[index][: max(0, len(sound) - start)]
        sound[start : start + len(piece)] += piece
        said[start : start + len(piece)] = labels[index]
        start += len(piece)
    return _log_spectrogram(0.1 * sound, frames), said[128::128][:frames]


def _persons(rng, left, sounds, labels, speakers, frames=48):
    """Returns two simultaneous speakers, and who is heard in each frame and band:
    George, another or neither."""
    length = frames * 128 + 128
    both = np.zeros((2, length))
    for row, is_george in zip(both, (True, False), strict=True):
        index = next(i for i in left if (speakers[i] == "george") == is_george)
        left.remove(index)
        start = rng.integers(1500)
        piece = sounds[index][: length - start]
        row[start : start + len(piece)] += piece
    energies = np.stack([_energies(0.1 * row) for row in both])
    heard = np.where(energies.max(0) > 0.05, 1 + energies.argmax(0), 0)
    # Add two copies of the last band, since the network halves the bands twice.
    image = _log_spectrogram(0.1 * both.sum(0), frames)
    image, heard = (np.pad(each, ((0, 0), (0, 2)), "edge") for each in (image, heard))
    return image[..., np.newaxis], heard


voices = mixed(_voices, "cnn_1d", 10, "labels", (300, 300, 140))
frames = mixed(_frames, "convolutional_tagger", 11, "positions", (100, 100, 100))
persons = mixed(_persons, "unet", 3, "positions", (100, 100, 50))
