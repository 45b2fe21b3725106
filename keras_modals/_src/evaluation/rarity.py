"""Sample weights and oversampling by the rarity of labels."""

import numpy as np


def weights_of(present):
    """Computes a weight for each sample: the mean inverse frequency of its labels.

    With one label for each sample, these are the usual class weights.

    Args:
        present: Booleans `(samples, labels)`, the labels of each sample. A sample
            without labels has weight 0.

    Returns:
        `(samples,)`, with a mean of 1 over the samples with a label.
    """
    counts = present.sum(axis=0)
    inverse = np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0)
    numbers = present.sum(axis=1)
    weights = present @ inverse / np.maximum(numbers, 1)
    return (weights * np.sum(numbers > 0) / max(weights.sum(), 1e-12)).astype("float32")


def repeats(present, rng):
    """Returns indices of samples for repeat factor sampling.

    The repeat factor of a sample depends on its rarest label: it is the square root of
    the ratio between the frequency of the most frequent label and that of the rarest.
    So the threshold is the frequency of the most frequent label.

    Args:
        present: As in `weights_of`. A sample without labels appears once.
        rng: A NumPy generator, for the fractional part of the repeat factors.

    Reference:

    - [Gupta et al., 2019](https://arxiv.org/abs/1908.03195)
    """
    counts = present.sum(axis=0)
    factors = np.sqrt(counts.max() / np.maximum(counts, 1))
    factors = np.maximum(np.max(present * factors, axis=1), 1.0)
    times = np.floor(factors + rng.random(len(factors))).astype(int)
    return np.repeat(np.arange(len(factors)), times)
