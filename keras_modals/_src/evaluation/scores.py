"""Scores of predictions as pure functions, and their units."""

import warnings

import numpy as np
from sklearn import metrics

#: The scores for which lower is better.
ERRORS = ("log_loss", "calibration_error", "rmse", "mae")
#: The scores in units of the targets.
OF_TARGETS = ("rmse", "mae")
#: The units of scores that are not shares. Shares are shown in points (hundredths).
UNITS = {"log_loss": "nats", **dict.fromkeys(OF_TARGETS, "in units of the target")}
#: The default scores for each kind of labels.
USUAL = ("r2", "mean_iou", "average_precision", "accuracy")

# One class: labels `(n,)` and probabilities `(n, classes)` --------------------------


def as_distributions(probabilities):
    """Returns rows that are positive and sum to one.

    Rows with NaN or infinite values are replaced by the uniform distribution.
    """
    classes = probabilities.shape[1]
    known = np.all(np.isfinite(probabilities), axis=-1, keepdims=True)
    probabilities = np.where(known, probabilities, 1.0 / classes).astype("float64")
    # In float32 or float16, the sums are not exactly one.
    probabilities = np.clip(probabilities, 1e-7, None)
    probabilities /= probabilities.sum(-1, keepdims=True)
    return probabilities


def accuracy(labels, probabilities):
    return metrics.accuracy_score(labels, probabilities.argmax(-1))


def balanced_accuracy(labels, probabilities):
    """Mean recall over the classes that occur."""
    with warnings.catch_warnings():
        # A class that is predicted but does not occur does not count.
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


# Numbers: targets and predictions `(n, columns)` -------------------------------------


def r2(targets, predictions):
    """The share of explained variance, averaged over columns."""
    return metrics.r2_score(targets, predictions)


def rmse(targets, predictions):
    """Root mean squared error, averaged over columns."""
    return metrics.root_mean_squared_error(targets, predictions)


def mae(targets, predictions):
    """Mean absolute error, averaged over columns."""
    return metrics.mean_absolute_error(targets, predictions)


# Several labels: booleans and probabilities `(n, labels)` ----------------------------


def average_precision(present, probabilities):
    """Average precision, averaged over the labels that only some samples have."""
    varies = present.any(axis=0) & ~present.all(axis=0)
    return _mean_of_labels(
        metrics.average_precision_score, present, probabilities, varies
    )


def macro_f1_of_labels(present, probabilities):
    """F1 score, averaged over the labels that occur or are predicted (above 0.5)."""
    predicted = probabilities > 0.5
    occurs = present.any(axis=0) | predicted.any(axis=0)
    return _mean_of_labels(metrics.f1_score, present, predicted, occurs)


def micro_f1_of_labels(present, probabilities):
    """F1 score over all labels together."""
    predicted = probabilities > 0.5
    return metrics.f1_score(present.ravel(), predicted.ravel(), zero_division=0.0)


def mean_iou_of_labels(present, probabilities):
    """Intersection over union, averaged over labels that occur or are predicted."""
    predicted = probabilities > 0.5
    occurs = present.any(axis=0) | predicted.any(axis=0)
    return _mean_of_labels(metrics.jaccard_score, present, predicted, occurs)


def accuracy_of_labels(present, probabilities):
    """The share of correct labels over all samples."""
    return np.mean(present == (probabilities > 0.5))


def log_loss_of_labels(present, probabilities):
    """Mean negative log-likelihood per label, in nats."""
    return -np.log(np.where(present, probabilities, 1 - probabilities)).mean()


def _mean_of_labels(score, present, predicted, chosen):
    """The mean score over the chosen labels; 0 if none is chosen."""
    columns = np.flatnonzero(chosen)
    scores = [score(present[:, column], predicted[:, column]) for column in columns]
    return np.mean(scores) if scores else 0.0


# Positions ------------------------------------------------------------------------


def mean_iou(labels, probabilities):
    """Intersection over union, averaged over classes that occur or are predicted."""
    return metrics.jaccard_score(
        labels, probabilities.argmax(-1), average="macro", zero_division=0.0
    )
