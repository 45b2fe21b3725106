"""Significance tests for paired differences."""

import math
from collections import namedtuple

import numpy as np
from scipy import stats

PairedTest = namedtuple("PairedTest", ["mean", "standard_error", "p_value"])


def paired_test(differences, test_to_train=0.0):
    """Computes a two-sided paired t-test, or a sign test if all differences are equal.

    Args:
        differences: `(n,)`, the difference for each seed.
        test_to_train: Float, the number of test samples per training sample if every
            seed has its own split. Splits of one data set share samples, so their
            scores are correlated and the plain test has too many false positives; this
            corrects it. `0` if all seeds share their test samples.

    Returns:
        `PairedTest(mean, standard_error, p_value)`. With fewer than two differences,
        the unknown values are NaN.

    Reference:

    - [Nadeau and Bengio, 2003](https://doi.org/10.1023/A:1024068626366)
    """
    differences = np.asarray(differences, "float64")
    count = len(differences)
    mean = differences.mean() if count else np.nan
    if count < 2:
        return PairedTest(mean, np.nan, np.nan)
    error = _deviation(differences) * np.sqrt(1 / count + test_to_train)
    if error == 0:
        # With few test samples, a few equal differences do not prove much.
        return PairedTest(mean, 0.0, 1.0 if mean == 0 else 2.0 ** (1 - count))
    p_value = 2 * stats.t.sf(abs(mean / error), count - 1)
    return PairedTest(mean, error, p_value)


def _deviation(differences):
    """The standard deviation; zero if it is only due to rounding to six decimals."""
    deviation = np.std(differences, ddof=1)
    return 0.0 if deviation < 1e-4 * np.abs(differences).max() else deviation


def holm(p_values):
    """Corrects p-values for their number. NaN values are not counted and stay NaN.

    Reference:

    - [Holm, 1979](https://www.jstor.org/stable/4615733)
    """
    p_values = np.asarray(p_values, "float64")
    corrected = np.full(len(p_values), np.nan)
    order = [i for i in np.argsort(p_values) if not np.isnan(p_values[i])]
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(p_values[order] * factors)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def samples_for(differences, test_to_train=0.0, comparisons=1):
    """Estimates the number of differences that `paired_test` needs for significance.

    The estimate is for a power of 80%, at a level of 5% after the correction for the
    number of `comparisons`. Returns `None` if no number is enough.
    """
    if len(differences) < 2:
        return None
    mean, deviation = np.mean(differences), _deviation(differences)
    if mean == 0 or not np.isfinite(deviation):
        return None
    if deviation == 0:
        return math.ceil(1 + math.log2(comparisons / 0.05))
    probabilities = 1 - 0.025 / comparisons, 0.8

    def counts_for(quantiles):
        # The samples that splits share do not average out.
        share = (mean / (quantiles * deviation)) ** 2 - test_to_train
        return 1 / np.maximum(share, 1e-12)

    least = np.ceil(counts_for(sum(map(stats.norm.ppf, probabilities))))
    if least > 1e9:
        return None
    counts = max(2, int(least)) + np.arange(100)
    quantiles = sum(stats.t.ppf(p, counts - 1) for p in probabilities)
    enough = counts >= counts_for(quantiles)
    # For large counts, the normal distribution is accurate enough.
    return int(counts[enough.argmax()]) if enough.any() else int(least)
