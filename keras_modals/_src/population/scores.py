"""Scores and descent of members over the generations."""

import numpy as np


def smooth(scores, before, smoothing):
    """Members' scores, smoothed: validation sets are small and noisy.

    Args:
        scores: Their new scores, NaN or infinite where one failed.
        before: The smoothed scores of those that they went on from. Not finite where
            there are none.
        smoothing: Float in `[0, 1)`, the share of `before`.
    """
    smoothed = smoothing * before + (1.0 - smoothing) * scores
    return np.where(np.isfinite(before), smoothed, scores)


def lineage(last, parent_of):
    """A member and its forebears.

    Args:
        last: The member, whatever it is told by.
        parent_of: `fn(member)` that returns the one that a member goes on from, `None`
            for one of the first generation.

    Returns:
        List of one per generation, oldest first; `last` is the last.
    """
    line = [last]
    while (parent := parent_of(line[-1])) is not None:
        line.append(parent)
    return line[::-1]
