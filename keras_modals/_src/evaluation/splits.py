"""The data of a comparison: training, validation and test samples for each seed."""

from collections.abc import Mapping

from keras_modals._src.data.sources import to_numpy
from keras_modals._src.evaluation.checks import described
from keras_modals._src.evaluation.data_checks import (
    INPUTS,
    ONE_ARRAY,
    PARTS,
    UNLABELED,
    check_numbers,
    check_parts,
    is_array,
    texts_as_arrays,
)
from keras_modals._src.evaluation.dataset_splits import dataset_splitter
from keras_modals._src.evaluation.samples import (
    first_targets,
    is_dataset,
    take,
)
from keras_modals._src.models.hub_task import preprocessor_of


def takes_strings(model):
    """Whether a model may take strings as inputs, possibly through a preprocessor."""
    inputs = getattr(model, "inputs", None)
    if preprocessor_of(model) is not None or not inputs:
        # A subclassed model does not declare its inputs.
        return True
    return any(tensor.dtype == "string" for tensor in inputs)


def make_loader(data, splits, kind, unlabeled=None, *, strings=False):
    """Returns `fn(seed)` that returns a dict of the three parts.

    The dict may also have `"test_id"` and `"unlabeled"`.

    Args:
        data, splits: As in `check_data`.
        kind: The `Kind` of the labels, which checks and splits them.
        unlabeled: Samples without labels, the same for all seeds; `None` to use those
            in the parts.
        strings: Boolean, whether the model takes strings.
    """
    more = {} if unlabeled is None else {UNLABELED: texts_as_arrays(unlabeled)}
    if is_dataset(data):
        split_data = dataset_splitter(data, kind, splits)
        return lambda seed: {**dict(zip(PARTS, split_data(seed), strict=True)), **more}
    if callable(data):
        return lambda seed: _check_loaded(_with(data(seed), more), kind, strings)
    if isinstance(data, Mapping):
        parts = _check_loaded({**data, **more}, kind, strings)
        return lambda seed: parts
    targets = _labels(kind, data[1])
    kind.check(targets)
    if not strings:
        check_numbers("data", data[0])

    def split(seed):
        indices = kind.split(targets, splits, seed)
        parts = {
            part: take(tuple(data), chosen)
            for part, chosen in zip(PARTS, indices, strict=True)
        }
        return {**parts, **more}

    if more:
        _check_loaded(split(0), kind, strings)
    return split


def _with(parts, more):
    return {**parts, **more} if isinstance(parts, Mapping) else parts


def _check_loaded(parts, kind, strings):
    check_parts(parts)
    for part in PARTS:
        samples = parts[part]
        # The rest of a dataset is checked when it is scored.
        targets = first_targets(samples) if is_dataset(samples) else samples[1]
        kind.check(to_numpy(_labels(kind, targets)))
    for part in INPUTS:
        samples = parts.get(part)
        if not (strings or samples is None or is_dataset(samples)):
            is_pair = part in PARTS or isinstance(samples, tuple)
            inputs = samples[0] if is_pair else samples
            check_numbers(f"data[{part!r}]", inputs)
    return parts


def _labels(kind, targets):
    """Returns the targets to compare, one array."""
    labels = kind.output.of(targets)
    if not is_array(labels):
        raise ValueError(ONE_ARRAY + f"Received: data with targets {described(labels)}")
    return labels


def is_split(data):
    """Whether `data` is already split into parts."""
    return callable(data) or isinstance(data, Mapping)
