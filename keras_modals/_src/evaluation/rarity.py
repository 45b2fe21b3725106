"""How rare the labels of samples are, and what follows for training."""

import numpy as np


def weights_of(present):
    """A weight for each sample: the mean, over the labels that it has, of how rare they
    are, by inverse frequency. With one label each, these are the weights of classes.

    Args:
        present: Booleans `(samples, labels)`, which labels a sample has. One that has
            none weighs nothing.

    Returns:
        `(samples,)`, of which the mean is 1 among samples with a label.
    """
    counts = present.sum(axis=0)
    inverse = np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0)
    numbers = present.sum(axis=1)
    weights = present @ inverse / np.maximum(numbers, 1)
    return (weights * np.sum(numbers > 0) / max(weights.sum(), 1e-12)).astype("float32")


def repeats(present, rng):
    """Indices of samples, each as often as the rarest of its labels asks for: the root
    of how many times as frequent the most frequent label is. That is repeat factor
    sampling, of which the threshold is the frequency of the most frequent label.

    Args:
        present: As in `weights_of`. A sample that has no label is there once.
        rng: A NumPy generator, for what is left of a sample after whole times.

    Reference:

    - [Gupta et al., 2019](https://arxiv.org/abs/1908.03195)
    """
    counts = present.sum(axis=0)
    factors = np.sqrt(counts.max() / np.maximum(counts, 1))
    factors = np.maximum(np.max(present * factors, axis=1), 1.0)
    times = np.floor(factors + rng.random(len(factors))).astype(int)
    return np.repeat(np.arange(len(factors)), times)
