"""Scores of class probabilities, `(samples, classes)`, on labelled samples."""

import warnings

import numpy as np
from sklearn import metrics


def accuracy(labels, probabilities):
    return metrics.accuracy_score(labels, probabilities.argmax(-1))


def balanced_accuracy(labels, probabilities):
    """Mean over the classes that occur of the share that is recognized."""
    with warnings.catch_warnings():
        # A class that is only ever predicted does not count.
        warnings.simplefilter("ignore", UserWarning)
        return metrics.balanced_accuracy_score(labels, probabilities.argmax(-1))


def macro_f1(labels, probabilities):
    return metrics.f1_score(
        labels, probabilities.argmax(-1), average="macro", zero_division=0.0
    )


def log_loss(labels, probabilities):
    """Mean negative log-likelihood, in nats."""
    return metrics.log_loss(labels, probabilities, labels=range(probabilities.shape[1]))


def calibration_error(labels, probabilities, bins=15):
    """Expected calibration error: the mean distance between confidence and accuracy.

    Reference:

    - [Guo et al., 2017](https://arxiv.org/abs/1706.04599)
    """
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == labels
    bin_ = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_, confidence - correct, minlength=bins)
    return np.abs(gaps).sum() / len(labels)


#: Name to `fn(labels, probabilities)`.
SCORES = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "log_loss": log_loss,
    "calibration_error": calibration_error,
}
#: The scores of which less is better.
ERRORS = ("log_loss", "calibration_error")


def all_scores(labels, probabilities):
    """Dict of every score. A prediction that is not a number counts as no opinion."""
    classes = probabilities.shape[1]
    known = np.all(np.isfinite(probabilities), axis=-1, keepdims=True)
    probabilities = np.where(known, probabilities, 1.0 / classes).astype("float64")
    # Rounded in float32, or in float16, they do not sum to one.
    probabilities = np.clip(probabilities, 1e-7, None)
    probabilities /= probabilities.sum(-1, keepdims=True)
    return {name: float(fn(labels, probabilities)) for name, fn in SCORES.items()}
