from collections import namedtuple

BatchLabels = namedtuple(
    "BatchLabels",
    ["groups", "samples", "compared", "targets", "unlabeled"],
    defaults=[None, None],
)
BatchLabels.__doc__ = """The labels of a batch, read from its targets.

Attributes:
    groups: int32 `(n,)`, the group of each sample or, with a label for each position,
        of each position, sample by sample; -1 for no label.
    samples: int32 `(batch,)`, the group of each sample, used to draw its partner; -1
        if it is not mixed.
    compared: What terms see of `groups`: the groups themselves or, with several labels
        at once, rows of 0 and 1, `(n, num_labels)`, filled with -1 for no label.
    targets: The targets, unchanged.
    unlabeled: Boolean `(batch,)` or, with a label for each position, `(batch, ...)`,
        `True` where targets declare a missing label; `None` if nothing learns from
        unlabeled samples.
"""


def of_groups(groups):
    """Returns the labels of samples with one group each, int32 `(batch,)`."""
    return BatchLabels(groups, groups, groups)
