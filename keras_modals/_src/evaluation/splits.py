"""The data of a comparison: training, validation and test samples for each seed."""

import numbers
from collections.abc import Mapping

import keras
import numpy as np
from scipy import sparse

from keras_modals._src.evaluation.checks import check_data_fn, described
from keras_modals._src.evaluation.samples import (
    can_be_split,
    first_targets,
    is_dataset,
    split_dataset,
    take,
)
from keras_modals._src.models.hub_task import preprocessor_of

PARTS = ("train", "validation", "test")
UNLABELED = "unlabeled"
#: The parts that have inputs.
_INPUTS = (*PARTS, UNLABELED)


def check_data(data, splits):
    """Refuses what cannot be data, before anything is known of the model. Returns the
    data with arrays in place of lists of strings."""
    if is_dataset(data):
        _check_splits(splits)
        _check_can_be_split(data)
        return data
    if callable(data):
        check_data_fn(data)
        return lambda seed: _with_texts(data(seed))
    data = _with_texts(data)
    if isinstance(data, Mapping):
        _check_parts(data)
    else:
        _check_splits(splits)
        _check_pair("data", data)
    return data


def _with_texts(data):
    """A pair, or a dict of parts, with arrays in place of lists of strings."""
    if isinstance(data, Mapping):
        parts = {part: texts_as_arrays(data[part]) for part in data if part in _INPUTS}
        return {**data, **parts}
    return texts_as_arrays(data)


def texts_as_arrays(structure):
    """A structure with arrays of objects in place of lists of strings."""

    def convert(entry):
        is_texts = isinstance(entry, list) and bool(entry)
        if is_texts and all(isinstance(each, str | bytes) for each in entry):
            return np.array(entry, dtype=object)
        return None

    return keras.tree.traverse(convert, structure)


def takes_strings(model):
    """Whether a model may take strings as inputs, or a preprocessor makes its inputs
    of them."""
    inputs = getattr(model, "inputs", None)
    if preprocessor_of(model) is not None or not inputs:
        # A subclassed model does not say what it takes.
        return True
    return any(tensor.dtype == "string" for tensor in inputs)


def make_loader(data, splits, kind, unlabeled=None, *, strings=False):
    """`fn(seed)` that returns a dict of the three parts, and maybe `"test_id"` and
    `"unlabeled"`.

    Args:
        data, splits: As `check_data` takes them.
        kind: The `Kind` of the labels, which checks and splits them.
        unlabeled: Samples without labels, the same for all seeds; `None` for those of
            the parts.
        strings: Boolean, whether the model takes strings.
    """
    more = {} if unlabeled is None else {UNLABELED: texts_as_arrays(unlabeled)}
    if is_dataset(data):

        def split_batches(seed):
            parts = split_dataset(data, kind, splits, seed)
            return {**dict(zip(PARTS, parts, strict=True)), **more}

        return split_batches
    if callable(data):
        return lambda seed: _check_loaded(_with(data(seed), more), kind, strings)
    if isinstance(data, Mapping):
        parts = _check_loaded({**data, **more}, kind, strings)
        return lambda seed: parts
    kind.check(data[1])
    if not strings:
        _check_numbers("data", data[0])

    def split(seed):
        indices = kind.split(data[1], splits, seed)
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
    _check_parts(parts)
    for part in PARTS:
        samples = parts[part]
        # Of a dataset the rest is checked when it is scored.
        kind.check(first_targets(samples) if is_dataset(samples) else samples[1])
    for part in _INPUTS:
        samples = parts.get(part)
        if not (strings or samples is None or is_dataset(samples)):
            _check_numbers(f"data[{part!r}]", samples)
    return parts


def _check_can_be_split(dataset):
    if not can_be_split(dataset):
        raise ValueError(
            "A dataset can be split where its parts can be had by index, as a "
            "`PyDataset` of three batches or more and a `DataLoader` of a dataset with "
            'indices. Pass a dict of datasets with the keys "train", "validation" and '
            '"test"; of a `tf.data.Dataset` these are made with `take` and `skip`. '
            f"Received: data={described(dataset)}"
        )


def _check_splits(splits):
    is_pair = isinstance(splits, tuple | list) and len(splits) == 2
    if not (
        is_pair
        and all(isinstance(share, numbers.Real) for share in splits)
        and min(splits) > 0
        and sum(splits) < 1
    ):
        raise ValueError(
            "Invalid value received for argument `splits`. Expected two positive "
            "shares that leave some for training. "
            f"Received: splits={described(splits)}"
        )


def _check_parts(parts):
    if not isinstance(parts, Mapping) or any(name not in parts for name in PARTS):
        received = list(parts) if isinstance(parts, Mapping) else described(parts)
        raise ValueError(
            'Split data must have "train", "validation" and "test", each a pair of '
            f"arrays `(x, y)`. Received: {received}"
        )
    for name in PARTS:
        if not is_dataset(parts[name]):
            _check_pair(f"data[{name!r}]", parts[name])
    if parts.get(UNLABELED) is not None:
        _check_unlabeled(parts)
    if is_dataset(parts["test"]):
        return parts
    labels = parts["test"][1]
    if len(parts.get("test_id", labels)) != len(labels):
        raise ValueError(
            '"test_id" must have an entry for every test sample. Received: '
            f"{len(parts['test_id'])} entries for {len(labels)} samples"
        )
    return parts


def _check_unlabeled(parts):
    """Refuses samples without labels that are those to choose or to judge by."""
    given = parts[UNLABELED]
    if is_dataset(given):
        return
    if isinstance(given, tuple):
        _check_pair(UNLABELED, given)
    inputs = given[0] if isinstance(given, tuple) else given
    leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(inputs)]
    _check_inputs(UNLABELED, inputs, len(leaves[0]))
    for name in PARTS[1:]:
        if is_dataset(parts[name]):
            continue
        others = [np.asarray(leaf) for leaf in keras.tree.flatten(parts[name][0])]
        if all(map(np.array_equal, leaves, others)):
            raise ValueError(
                "Samples that are learned from without their labels cannot be those "
                "that a method is chosen or judged by: leave them out. Received: "
                f"unlabeled samples that are those of {name!r}"
            )


def _check_pair(name, pair):
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not (is_pair and all(map(_may_be_arrays, pair))):
        raise ValueError(
            "Invalid value received for argument `data`. Expected pairs of arrays "
            "`(x, y)`, or datasets of batches of such: one, a dict with the keys "
            '"train", "validation" and "test", or a function of a seed that returns '
            "such a dict; a generator gives its batches once only: write a "
            f"`keras.utils.PyDataset`. Received: {name}={described(pair)}"
        )
    x, y = pair
    if not _is_array(y):
        raise ValueError(
            "Invalid value received for argument `data`. Expected the targets as one "
            "array, for a model with one output: of a list, make an array with "
            f"`np.asarray(y)`. Received: {name} with targets {described(y)}"
        )
    _check_inputs(name, x, len(y))


def _may_be_arrays(value):
    """Whether a value is no dataset, and not `None`."""
    is_collection = isinstance(value, list | tuple | Mapping)
    return is_collection or _is_array(value) or sparse.issparse(value)


def _is_array(value):
    return not sparse.issparse(value) and bool(getattr(value, "shape", ()))


def _check_inputs(name, x, samples):
    leaves = keras.tree.flatten(x)
    wrong = [leaf for leaf in leaves if not _is_array(leaf)]
    if any(map(sparse.issparse, leaves)):
        raise ValueError(
            "Invalid value received for argument `data`. Expected dense arrays: of a "
            "sparse matrix, make one with `x.toarray()`. "
            f"Received: {name} with {described(wrong[0])}"
        )
    counts = {leaf.shape[0] for leaf in leaves if _is_array(leaf)}
    is_list = isinstance(x, list | tuple) and len(x) == samples
    if wrong or (is_list and counts != {samples}) or any(map(_is_ragged, leaves)):
        raise ValueError(
            "Invalid value received for argument `data`. Expected the inputs as one "
            "array, or one for each input of the model: of a list of samples, make an "
            "array with `np.stack(x)` or, where their lengths differ, with "
            f"`keras.utils.pad_sequences(x)`. Received: {name} with {described(x)}"
        )
    if counts != {samples}:
        raise ValueError(
            f"Inputs and targets must have as many samples. Received: {name} with "
            f"{sorted(counts)} inputs and {samples} targets"
        )
    for leaf in leaves:
        _check_dtype(name, np.asarray(leaf))


def _is_ragged(leaf):
    array = np.asarray(leaf)
    if array.dtype.kind != "O" or not array.size:
        return False
    return not isinstance(array.flat[0], str | bytes) and np.ndim(array.flat[0]) > 0


def _are_strings(array):
    """Whether an array has strings, which may be objects."""
    is_object = array.dtype.kind == "O" and bool(array.size)
    return array.dtype.kind in "US" or (
        is_object and isinstance(array.flat[0], str | bytes)
    )


def _check_dtype(name, array):
    if array.dtype.kind in "MmO" and not _are_strings(array):
        _refuse_dtype(name, array)


def _check_numbers(name, structure):
    for array in map(np.asarray, keras.tree.flatten(structure)):
        if _are_strings(array):
            _refuse_dtype(name, array)


def _refuse_dtype(name, array):
    raise ValueError(
        "Invalid value received for argument `data`. Expected inputs that are "
        "numbers: write `x.astype('float32')`, or encode what are words or dates; for "
        "a model with an input for each column of a DataFrame, pass `dict(x)`. "
        f"Received: {name} with inputs of dtype {array.dtype}"
    )


def is_split(data):
    """Whether `data` come with their test samples."""
    return callable(data) or isinstance(data, Mapping)
