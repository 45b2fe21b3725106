"""A small text data set from SciPy: one-sentence summaries of its functions, labeled
with one of six subpackages."""

import importlib
import inspect

import numpy as np
from sklearn.model_selection import train_test_split

TOPICS = ("linalg", "ndimage", "optimize", "signal", "special", "stats")


def load():
    """Returns texts and class indices. Each text occurs once."""
    texts, labels = [], []
    for label, topic in enumerate(TOPICS):
        module = importlib.import_module(f"scipy.{topic}")
        values = [vars(module)[name] for name in sorted(vars(module))]
        found = {_summary(value) for value in values if callable(value)}
        found = sorted(found - {None, *texts})
        texts += found
        labels += [label] * len(found)
    return np.array(texts), np.array(labels)


def split(seed, train_size=240):
    """Returns a small split for `keras_modals.compare`, as if labeled by hand."""
    texts, labels = load()
    parts = {}
    rest = np.arange(len(labels))
    for name, size in (("train", train_size), ("validation", train_size)):
        chosen, rest = train_test_split(
            rest, train_size=size, stratify=labels[rest], random_state=seed
        )
        parts[name] = texts[chosen], labels[chosen]
    parts["test"] = texts[rest], labels[rest]
    return parts


def _summary(function):
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        # The docstrings of compiled functions begin with the signature.
        if " " in text and "(" not in text.partition(" ")[0]:
            return text.partition(". ")[0]
    return None
