"""Class names as labels."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_modals._src.evaluation.data_checks import PARTS
from keras_modals._src.evaluation.samples import is_dataset


def with_numbers(data, seed):
    """Replaces class names by their indices in sorted order.

    Args:
        data: A pair `(x, y)`, a dict of pairs and other entries, or a function of a
            seed that returns such a dict; other data are returned unchanged.
        seed: Integer, the seed whose data have the names, if `data` is a function.

    Returns:
        The data, and the list of names, or `None` if labels are not names.
    """
    if not callable(data) or is_dataset(data):
        classes = _names(data)
        return data if classes is None else _numbered(data, classes), classes
    # As before each seed's runs.
    keras.utils.set_random_seed(seed)
    parts = data(seed)
    classes = _names(parts) if isinstance(parts, Mapping) else None
    if classes is None:
        return data, None
    return lambda seed: _numbered(data(seed), classes), classes


def _names(data):
    """Returns the sorted list of class names, or `None` if labels are not names."""
    pairs = _pairs(data)
    if not pairs or not all(map(_has_names, pairs.values())):
        # A mix of names and numbers is refused when labels are checked.
        return None
    return np.unique(np.concatenate([_flat(pair) for pair in pairs.values()])).tolist()


def _numbered(data, classes):
    numbered = {}
    for part, pair in _pairs(data).items():
        names = _flat(pair)
        unknown = np.setdiff1d(names, classes)
        if unknown.size:
            raise ValueError(
                "The data of all seeds must have the same classes. Received: the class "
                f"{str(unknown[0])!r}, which the first seed lacks"
            )
        numbered[part] = pair[0], np.searchsorted(classes, names)
    return {**data, **numbered} if isinstance(data, Mapping) else numbered["all"]


def _pairs(data):
    """Returns a dict of the pairs with labels."""
    if not isinstance(data, Mapping):
        return {"all": data}
    return {part: data[part] for part in PARTS if part in data}


def _flat(pair):
    return np.asarray(pair[1]).reshape(-1).astype(str)


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
