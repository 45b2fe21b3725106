"""Class names as labels."""

from collections.abc import Mapping

import numpy as np

from keras_modals._src.evaluation.data_checks import PARTS
from keras_modals._src.evaluation.samples import is_dataset


def with_numbers(data):
    """Replaces class names by their indices in sorted order.

    Args:
        data: A pair `(x, y)`, or a dict of pairs and other entries; other data are
            returned unchanged.

    Returns:
        The data, and the list of names, or `None` if labels are not names.
    """
    pairs = data if isinstance(data, Mapping) else {"all": data}
    names = {
        part: np.asarray(pair[1]).reshape(-1)
        for part, pair in pairs.items()
        if part in (*PARTS, "all") and _has_names(pair)
    }
    if len(names) < len({*PARTS, "all"} & pairs.keys()):
        # A mix of names and numbers is refused when labels are checked.
        return data, None
    classes = np.unique(np.concatenate(list(names.values())))
    numbers = {
        part: (pairs[part][0], np.searchsorted(classes, labels))
        for part, labels in names.items()
    }
    coded = {**data, **numbers} if isinstance(data, Mapping) else numbers["all"]
    return coded, classes.tolist()


def _has_names(pair):
    if is_dataset(pair) or not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    if not hasattr(pair[1], "shape"):
        return False
    labels = np.asarray(pair[1])
    is_column = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    if not is_column or labels.dtype.kind not in "UO":
        return False
    are_names = [isinstance(each, str) for each in labels.flat]
    if any(are_names) and not all(are_names):
        row = are_names.index(False)
        raise ValueError(
            "Labels must all be class names, or all be numbers. Received: "
            f"{are_names.count(False)} of {len(are_names)} labels that are no strings, "
            f"the first in row {row}: {labels.flat[row]!r}"
        )
    return all(are_names)
