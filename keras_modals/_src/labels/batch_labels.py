from collections import namedtuple

BatchLabels = namedtuple(
    "BatchLabels",
    ["groups", "samples", "compared", "targets", "unlabeled"],
    defaults=[None, None],
)
BatchLabels.__doc__ = """What the targets of a batch say.

Attributes:
    groups: int32 `(n,)`, the group of all that has a label: of each sample or, with a
        label for each position, of each position, those of a sample together; -1 for
        none.
    samples: int32 `(batch,)`, the group of each sample, by which its partner is drawn;
        -1 where it takes no part in mixing.
    compared: What terms see of `groups`: the same, or with several labels at once rows
        of 0 and 1, `(n, num_labels)`, of -1 for none.
    targets: The targets as they are.
    unlabeled: Boolean `(batch,)` or, with a label for each position, `(batch, ...)`,
        where targets say that there is no label; `None` where nothing learns from such.
"""


def of_groups(groups):
    """The labels of samples that have a group each, int32 `(batch,)`."""
    return BatchLabels(groups, groups, groups)
