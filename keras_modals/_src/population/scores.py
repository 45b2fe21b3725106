"""Scores and lineage of members over generations."""

import numpy as np


def smooth(scores, before, smoothing):
    """Smooths members' scores, since validation sets are small and noisy.

    Args:
        scores: New scores, NaN or infinite for a failed member.
        before: The smoothed scores of the members' parents. Not finite if there are
            none.
        smoothing: Float in `[0, 1)`, the weight of `before`.
    """
    smoothed = smoothing * before + (1.0 - smoothing) * scores
    return np.where(np.isfinite(before), smoothed, scores)


def lineage(last, parent_of):
    """Lists a member and its ancestors.

    Args:
        last: The member, in any representation.
        parent_of: `fn(member)` that returns a member's parent, or `None` for a member
            of the first generation.

    Returns:
        List with one member per generation, oldest first; `last` is the last.
    """
    line = [last]
    while (parent := parent_of(line[-1])) is not None:
        line.append(parent)
    return line[::-1]
