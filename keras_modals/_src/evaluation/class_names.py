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
        part: np.asarray(pair[1])
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
    return labels.ndim == 1 and (
        labels.dtype.kind == "U"
        or (labels.dtype.kind == "O" and all(isinstance(each, str) for each in labels))
    )
