"""Checks of the data of a comparison."""

import numbers
from collections.abc import Mapping

import keras
import numpy as np
from scipy import sparse

from keras_modals._src.evaluation.checks import check_data_fn, described
from keras_modals._src.evaluation.dataset_splits import can_be_split
from keras_modals._src.evaluation.samples import is_dataset, is_endless, take

PARTS = ("train", "validation", "test")
UNLABELED = "unlabeled"
#: The parts of the data with inputs.
INPUTS = (*PARTS, UNLABELED)


ONE_ARRAY = (
    "Invalid value received for argument `data`. Expected the targets as one array, or "
    "one for each output of the model. Convert a list with `np.asarray(y)`. "
)


def check_data(data, splits):
    """Refuses invalid data, as far as this is possible without the model.

    Returns the data with lists of strings replaced by arrays.
    """
    if is_dataset(data):
        _check_splits(splits)
        _check_can_be_split(data)
        return data
    if callable(data):
        check_data_fn(data)
        return lambda seed: _with_texts(data(seed))
    data = _with_texts(data)
    if isinstance(data, Mapping):
        check_parts(data)
    else:
        _check_splits(splits)
        _check_pair("data", data)
    return data


def _with_texts(data):
    """Replaces lists of strings by arrays in a pair, or in a dict of parts."""
    if isinstance(data, Mapping):
        parts = {part: texts_as_arrays(data[part]) for part in data if part in INPUTS}
        return {**data, **parts}
    return texts_as_arrays(data)


def texts_as_arrays(structure):
    """Replaces lists, arrays and tensors of strings in a structure by arrays of
    objects, which are what Keras takes."""

    def convert(entry):
        is_texts = isinstance(entry, list) and bool(entry)
        if is_texts and all(isinstance(each, str | bytes) for each in entry):
            return np.array(entry, dtype=object)
        if isinstance(entry, np.ndarray) and entry.dtype.kind in "US":
            return entry.astype(object)
        if keras.ops.is_tensor(entry) and "string" in str(entry.dtype):
            return np.vectorize(bytes.decode, otypes=[object])(np.asarray(entry))
        return None

    return keras.tree.traverse(convert, structure)


def check_finite(model, parts):
    """Refuses inputs with NaN or infinity for which the untrained model also predicts
    such values."""
    samples, found = 0, 0
    for part in (parts[name] for name in PARTS if not is_dataset(parts[name])):
        leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(part[0])]
        wrong = np.zeros(len(leaves[0]), bool)
        for leaf in leaves:
            if leaf.dtype.kind == "f":
                wrong |= ~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)
        rows = np.flatnonzero(wrong)
        if len(rows):
            outputs = model.predict(take(part[0], rows), batch_size=500, verbose=0)
            found += sum(map(_are_wrong, zip(*keras.tree.flatten(outputs))))
        samples += len(wrong)
    if found:
        raise ValueError(
            "The model cannot handle inputs that are NaN or infinite: it predicts NaN "
            "for them. Fill them in, or drop these samples. "
            f"Received: such inputs in {found} of {samples} samples"
        )


def _are_wrong(outputs):
    return not all(np.isfinite(output).all() for output in outputs)


def _check_can_be_split(dataset):
    if not can_be_split(dataset):
        raise ValueError(
            "Only datasets with an index can be split: a `PyDataset` of three or more "
            "batches, or a `DataLoader` of a map-style dataset without a custom "
            "sampler. Otherwise pass a dict of datasets with the keys "
            '"train", "validation" and "test"; divide a `tf.data.Dataset` with `take` '
            "and `skip` before it is shuffled, a folder of images with "
            "`validation_split`. "
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
            "shares with a sum below 1. "
            f"Received: splits={described(splits)}"
        )


def check_parts(parts):
    if not isinstance(parts, Mapping) or any(name not in parts for name in PARTS):
        received = list(parts) if isinstance(parts, Mapping) else described(parts)
        raise ValueError(
            'Split data must have "train", "validation" and "test", each a pair of '
            f"arrays `(x, y)` or a dataset. Received: {received}"
        )
    for name in PARTS:
        if not is_dataset(parts[name]):
            _check_pair(f"data[{name!r}]", parts[name])
        elif is_endless(parts[name]):
            raise ValueError(
                "Expected finite datasets, since an epoch is one pass. "
                f"Received: data[{name!r}]={described(parts[name])}, which is infinite"
            )
    if parts.get(UNLABELED) is not None:
        _check_unlabeled(parts)
    if is_dataset(parts["test"]):
        return parts
    labels = keras.tree.flatten(parts["test"][1])[0]
    if len(parts.get("test_id", labels)) != len(labels):
        raise ValueError(
            '"test_id" must have an entry for every test sample. Received: '
            f"{len(parts['test_id'])} entries for {len(labels)} samples"
        )
    return parts


def _check_unlabeled(parts):
    """Refuses unlabeled samples that are the validation or test samples."""
    given = parts[UNLABELED]
    if is_dataset(given):
        _check_is_other(given, parts)
        return
    if isinstance(given, tuple):
        _check_pair(UNLABELED, given)
    inputs = given[0] if isinstance(given, tuple) else given
    first = keras.tree.flatten(inputs)[0]
    _check_inputs(UNLABELED, inputs, len(first) if is_array(first) else 0)
    rows = _rows(inputs)
    for name in PARTS[1:]:
        if is_dataset(parts[name]):
            continue
        others = _rows(parts[name][0])
        # A few samples may have the same values by chance.
        if 2 * len(rows & others) > len(others):
            _refuse_to_learn_from(name)


def _rows(inputs):
    """Returns the set of the hashes of samples."""
    leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(inputs)]
    return {hash(tuple(map(_key, rows))) for rows in zip(*leaves)}


def _key(row):
    row = np.asarray(row)
    is_number = row.dtype.kind in "biuf"
    return row.astype("float32").tobytes() if is_number else tuple(row.ravel().tolist())


def _check_is_other(dataset, parts):
    for name in PARTS[1:]:
        if dataset is parts[name]:
            _refuse_to_learn_from(name)


def _refuse_to_learn_from(name):
    raise ValueError(
        "Unlabeled training samples must not include validation or test samples. "
        f"Received: unlabeled samples among which are those of {name!r}"
    )


def _check_pair(name, pair):
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not (is_pair and all(map(_may_be_arrays, pair))):
        raise ValueError(
            "Invalid value received for argument `data`. Expected pairs of arrays "
            "`(x, y)`, or datasets of such batches: one, a dict of them with the keys "
            '"train", "validation" and "test", or a function of a seed that returns '
            "such a dict. A generator yields its batches only once: use a "
            f"`keras.utils.PyDataset` instead. Received: {name}={described(pair)}"
        )
    x, y = pair
    is_structure = isinstance(y, Mapping | tuple) or (
        isinstance(y, list) and any(map(is_array, y))
    )
    if is_structure and keras.tree.flatten(y):
        # Targets for several outputs, which the model may have or not.
        for each in keras.tree.flatten(y):
            _check_pair(name, (x, each))
        return
    if not is_array(y):
        raise ValueError(ONE_ARRAY + f"Received: {name} with targets {described(y)}")
    _check_inputs(name, x, len(y))


def _may_be_arrays(value):
    """Whether a value may hold arrays, that is, is neither a dataset nor `None`."""
    is_collection = isinstance(value, list | tuple | Mapping)
    return is_collection or is_array(value) or sparse.issparse(value)


def is_array(value):
    return not sparse.issparse(value) and bool(getattr(value, "shape", ()))


def _check_inputs(name, x, samples):
    leaves = keras.tree.flatten(x)
    wrong = [leaf for leaf in leaves if not is_array(leaf)]
    if any(map(sparse.issparse, leaves)):
        raise ValueError(
            "Invalid value received for argument `data`. Expected dense arrays: "
            "convert a sparse matrix with `x.toarray()`. "
            f"Received: {name} with {described(wrong[0])}"
        )
    counts = {leaf.shape[0] for leaf in leaves if is_array(leaf)}
    is_list = isinstance(x, list | tuple) and len(x) == samples
    if wrong or (is_list and counts != {samples}) or any(map(_is_ragged, leaves)):
        raise ValueError(
            "Invalid value received for argument `data`. Expected the inputs as one "
            "array, or one for each input of the model. Convert a list of samples with "
            "`np.stack(x)` or, if their lengths differ, with "
            f"`keras.utils.pad_sequences(x)`. Received: {name} with {described(x)}"
        )
    if counts != {samples}:
        raise ValueError(
            "Inputs and targets must have the same number of samples. Received: "
            f"{name} with "
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
    """Whether an array holds strings, possibly as objects."""
    is_object = array.dtype.kind == "O" and bool(array.size)
    return array.dtype.kind in "US" or (
        is_object and isinstance(array.flat[0], str | bytes)
    )


def _check_dtype(name, array):
    if array.dtype.kind in "MmO" and not _are_strings(array):
        _refuse_dtype(name, array)


def check_numbers(name, structure):
    for path, leaf in keras.tree.flatten_with_path(structure):
        array = np.asarray(leaf)
        if _are_strings(array):
            entry = f", entry {path[-1]!r}" if path else ""
            _refuse_dtype(name + entry, array)


def _refuse_dtype(name, array):
    remedy = "use `x.astype('float32')`, or encode dates as numbers"
    if any(isinstance(each, str | bytes) for each in array.flat):
        remedy = (
            "encode strings before you split the data, in a DataFrame with "
            "`pd.get_dummies(x).astype('float32')`, sentences with a "
            "`TextVectorization` layer"
        )
    raise ValueError(
        "Invalid value received for argument `data`. Expected numeric inputs: "
        f"{remedy}. Columns of several dtypes become one array: convert them with "
        "`x.astype('float32')`, or give the model an input for each and pass "
        f"`dict(x)`. Received: {name} with inputs of dtype {array.dtype}"
    )
