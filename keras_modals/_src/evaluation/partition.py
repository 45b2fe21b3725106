"""Stratified splits into training, validation and test samples."""

import numpy as np
from sklearn.model_selection import train_test_split

#: The number of strata for numbers, if there are enough samples.
MAX_BINS = 10


def by_strata(samples, strata, shares, seed):
    """Splits samples at random, stratified.

    Args:
        samples: Integer, the number of samples.
        strata: `(samples,)`, or `None` for a single stratum.
        shares: Pair of floats, the shares of validation and test samples.
        seed: Integer.

    Returns:
        List of three arrays of indices.
    """
    validation_share = shares[0] / (1 - shares[1])
    try:
        rest, test = _split(np.arange(samples), shares[1], strata, seed)
        train, validation = _split(rest, validation_share, strata, seed)
    except ValueError:
        rarest = ""
        if strata is not None:
            fewest = np.unique(strata, return_counts=True)[1].min()
            rarest = f", {fewest} of the rarest class"
        raise ValueError(
            "There are too few samples for a training, a validation and a test part "
            "with each class. Pass other `splits`, leave out the rarest classes, or "
            'pass the parts yourself, as a dict with "train", "validation" and "test". '
            f"Received: {samples} samples{rarest}, splits={tuple(shares)}"
        ) from None
    return [train, validation, test]


def _split(samples, share, strata, seed):
    strata = None if strata is None else strata[samples]
    return train_test_split(
        samples, test_size=share, stratify=strata, random_state=seed
    )


def quantile_bins(numbers, shares):
    """Assigns `(samples, columns)` numbers to quantile bins.

    Rows are ranked by the mean of their columns, each in units of its standard
    deviation. The number of bins leaves two samples of each bin in every part. Returns
    `None` if there are too few samples.
    """
    least = min(*shares, 1 - sum(shares))
    bins = min(MAX_BINS, int(len(numbers) * least / 2))
    if bins < 2:
        return None
    deviations = numbers.std(axis=0)
    means = (numbers / np.where(deviations > 0, deviations, 1.0)).mean(axis=1)
    ranks = np.argsort(np.argsort(means, kind="stable"), kind="stable")
    return ranks * bins // len(numbers)


def by_labels(present, shares, seed):
    """Splits samples with several labels by iterative stratification.

    Labels are handled from the rarest to the most frequent. Each sample goes to the
    part that lacks most samples with the label.

    Args:
        present: Booleans `(samples, labels)`, the labels of each sample.
        shares, seed: As in `by_strata`.

    Returns:
        List of three arrays of indices.

    Reference:

    - [Sechidis et al., 2011](https://doi.org/10.1007/978-3-642-23808-6_10)
    """
    shares = np.array([1 - sum(shares), *shares])
    rng = np.random.default_rng(seed)
    part = np.full(len(present), -1)
    lacks = np.outer(shares, present.sum(axis=0)).astype("float64")
    lacks_samples = shares * len(present)
    left = present.sum(axis=0)
    while left.any():
        label = np.where(left > 0, left, np.inf).argmin()
        chosen = np.flatnonzero((part < 0) & present[:, label])
        for sample in rng.permutation(chosen):
            # `lexsort` sorts by the last key first.
            order = np.lexsort([rng.random(3), lacks_samples, lacks[:, label]])
            part[sample] = order[-1]
            lacks[order[-1]] -= present[sample]
            lacks_samples[order[-1]] -= 1
        left = left - present[chosen].sum(axis=0)
    others = rng.permutation(np.flatnonzero(part < 0))
    needed = np.maximum(lacks_samples, 0)
    if len(others):
        # Samples without labels fill up the parts.
        ends = np.round(np.cumsum(needed)[:2] * len(others) / needed.sum()).astype(int)
        for number, members in enumerate(np.split(others, ends)):
            part[members] = number
    return [np.flatnonzero(part == number) for number in range(3)]
