"""Whether paired differences are more than noise."""

import math
from collections import namedtuple

import numpy as np
from scipy import stats

PairedTest = namedtuple("PairedTest", ["mean", "standard_error", "p_value"])


def paired_test(differences, test_to_train=0.0):
    """A two-sided paired t-test; of differences that are all alike, a sign test.

    Args:
        differences: `(n,)`, the difference for each seed.
        test_to_train: Float, test samples per training sample where every seed has a
            split of its own. Splits of one data set share samples, so that their
            scores are correlated and the plain test finds too much; this corrects it.
            `0` where the test samples are the same for every seed.

    Returns:
        `PairedTest(mean, standard_error, p_value)`; NaN for what fewer than two
        differences do not tell.

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
        # Few test samples make a few differences alike: no proof that all would be.
        return PairedTest(mean, 0.0, 1.0 if mean == 0 else 2.0 ** (1 - count))
    p_value = 2 * stats.t.sf(abs(mean / error), count - 1)
    return PairedTest(mean, error, p_value)


def _deviation(differences):
    """The standard deviation, without what scores of six decimals add to none."""
    deviation = np.std(differences, ddof=1)
    return 0.0 if deviation < 1e-4 * np.abs(differences).max() else deviation


def holm(p_values):
    """P-values corrected for their number. NaN counts as none and stays NaN.

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
    """How many differences like these `paired_test` would need to tell their mean from
    zero, eight times of ten, at 5 % after a correction for as many `comparisons`;
    `None` where no number would do."""
    if len(differences) < 2:
        return None
    mean, deviation = np.mean(differences), _deviation(differences)
    if mean == 0 or not np.isfinite(deviation):
        return None
    if deviation == 0:
        return math.ceil(1 + math.log2(comparisons / 0.05))
    probabilities = 1 - 0.025 / comparisons, 0.8

    def counts_for(quantiles):
        # What a split shares with the others does not average out.
        share = (mean / (quantiles * deviation)) ** 2 - test_to_train
        return 1 / np.maximum(share, 1e-12)

    least = np.ceil(counts_for(sum(map(stats.norm.ppf, probabilities))))
    if least > 1e9:
        return None
    counts = max(2, int(least)) + np.arange(100)
    quantiles = sum(stats.t.ppf(p, counts - 1) for p in probabilities)
    enough = counts >= counts_for(quantiles)
    # Where it takes many, the normal distribution is as good.
    return int(counts[enough.argmax()]) if enough.any() else int(least)
