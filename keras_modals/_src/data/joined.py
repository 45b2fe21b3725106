import keras
import numpy as np

from keras_modals._src.arguments import check_integer, shown
from keras_modals._src.data.sources import (
    ArraySource,
    StreamSource,
    are_arrays,
    concatenated,
    to_numpy,
)


def join_unlabeled(
    labeled,
    unlabeled,
    batch_size=32,
    *,
    unlabeled_per_batch=None,
    num_batches=None,
    shuffle=True,
    seed=None,
):
    """Joins labeled and unlabeled samples into batches with a fixed number of each.

    Use it for the `fit` of a model that learns from both: a model compiled with
    `consistency_weight` or a `keras_modals.Consistency`. An epoch is one pass over the
    labeled samples, in full batches. The unlabeled samples continue from epoch to
    epoch.

    Args:
        labeled: Labeled samples: a tuple `(x, y)` or `(x, y, sample_weight)` of arrays,
            or a stream of such batches: a `keras.utils.PyDataset`, a
            `tf.data.Dataset`, a `torch.utils.data.DataLoader`, or another object that
            can be iterated over repeatedly. `y` is one array.
        unlabeled: Unlabeled samples: arrays like `x`, or a stream of such batches.
            Labels in the stream are ignored.
        batch_size: Integer, the number of labeled samples per batch; all of them, if
            there are fewer. Batches of a stream keep their size. Defaults to `32`.
        unlabeled_per_batch: Integer, the number of unlabeled samples per batch.
            Defaults to twice `batch_size`.
        num_batches: Integer, the number of batches per epoch, required for a stream of
            unknown length.
        shuffle: Boolean, whether to reshuffle arrays in each epoch. Streams keep their
            own order.
        seed: Optional integer, the seed for shuffling.

    Returns:
        A `keras.utils.PyDataset`. The label of unlabeled samples is -1 if labels are
        integers, and NaN if they are floats.

    Example:

    >>> x, y = np.random.normal(size=(100, 8)), np.arange(20) % 3
    >>> data = keras_modals.join_unlabeled((x[:20], y), x[20:], batch_size=10)
    >>> inputs, targets = data[0]
    >>> inputs.shape, int(np.sum(targets == -1)), data.num_batches
    ((30, 8), 20, 2)
    """
    return JoinedData(
        labeled,
        unlabeled,
        check_integer("batch_size", batch_size, 1),
        unlabeled_per_batch,
        num_batches,
        shuffle,
        seed,
    )


class JoinedData(keras.utils.PyDataset):
    """The result of `join_unlabeled`, with the same arguments.

    Attributes:
        epoch: Integer, the current epoch, which determines the samples drawn.
    """

    def __init__(
        self, labeled, unlabeled, batch_size, per_batch, num_batches, shuffle, seed
    ):
        super().__init__()
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        sources = labeled, unlabeled
        self._arguments = *sources, batch_size, per_batch, num_batches, shuffle, seed
        check_integer("seed", seed, 0)
        _check_source("labeled", labeled)
        _check_source("unlabeled", unlabeled)
        if isinstance(labeled, tuple) and are_arrays(labeled):
            _check_labels(labeled[1] if len(labeled) > 1 else None)
            source = ArraySource(labeled, shuffle, (seed, 0))
            batch_size = min(batch_size, source.count)
            num_batches = num_batches or -(-source.count // batch_size)
            self._labeled = lambda epoch, index: source.samples(
                epoch, index * batch_size, batch_size
            )
        else:
            stream = StreamSource(labeled)
            num_batches = num_batches or stream.length
            self._labeled = lambda epoch, index: stream.batch()
        if num_batches is None:
            raise ValueError(
                "The stream of labeled samples has no known length: pass "
                f"`num_batches`. Received: labeled={labeled!r}"
            )
        self._num_batches = check_integer("num_batches", num_batches, 1)
        per_batch = 2 * batch_size if per_batch is None else per_batch
        check_integer("unlabeled_per_batch", per_batch, 1)
        if are_arrays(unlabeled):
            others = ArraySource(unlabeled, shuffle, (seed, 1))
            self._unlabeled = lambda number: others.samples(
                0, number * per_batch, per_batch
            )
        else:
            other_stream = StreamSource(unlabeled)
            self._unlabeled = lambda number: other_stream.samples(per_batch)
        self.epoch = 0

    @property
    def num_batches(self):
        return self._num_batches

    def __getitem__(self, index):
        batch = self._labeled(self.epoch, index)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        _check_labels(y)
        others = self._unlabeled(self.epoch * self._num_batches + index)
        _check_alike(x, others)
        count = len(keras.tree.flatten(others)[0])
        joined = [concatenated(x, others), np.concatenate(_with_none(y, count))]
        if sample_weight is not None:
            ones = np.ones((count, *sample_weight.shape[1:]), sample_weight.dtype)
            joined.append(np.concatenate([sample_weight, ones]))
        order = _spread(len(y), count)
        return keras.tree.map_structure(lambda array: array[order], tuple(joined))

    def on_epoch_end(self):
        self.epoch += 1

    def anew(self):
        """Returns the same data from the start of its streams."""
        return JoinedData(*self._arguments)


def _check_source(name, given):
    """Refuses lists of numbers, which would be taken for a stream of batches."""
    leaves = keras.tree.flatten(given)
    is_nested = isinstance(given, (list, tuple, dict))
    are_numbers = [not hasattr(leaf, "shape") and leaf is not None for leaf in leaves]
    if given is None or (is_nested and any(are_numbers)):
        expected = "a tuple `(x, y)` of arrays" * (name == "labeled") or "arrays"
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected {expected}, or a "
            "stream of batches. Convert lists with `np.array(x)`. "
            f"Received: {name}={shown(given)}"
        )


def _check_labels(y):
    is_array = hasattr(y, "shape")
    if not is_array or to_numpy(y).dtype.kind not in "biuf":
        raise ValueError(
            "Expected labeled samples as a tuple `(x, y)` of arrays, with one array of "
            "numeric labels. Number class names with "
            f"`np.unique(y, return_inverse=True)[1]`. Received: labels {shown(y)}"
        )


def _check_alike(x, others):
    try:
        keras.tree.assert_same_structure(x, others)
    except (TypeError, ValueError):
        shapes = other_shapes = None
    else:
        shapes, other_shapes = (
            [each.shape[1:] for each in keras.tree.flatten(part)]
            for part in (x, others)
        )
    if shapes is None or shapes != other_shapes:
        raise ValueError(
            "Unlabeled samples must be arrays like the labeled `x`, of the same shape: "
            "pad sequences to the same length. Received: labeled inputs of shapes "
            f"{_shapes(x)}, and unlabeled ones of shapes {_shapes(others)}"
        )


def _shapes(structure):
    return keras.tree.map_structure(lambda each: each.shape, structure)


def _spread(count, others):
    """An order that spreads both kinds of samples evenly over a batch.

    With several devices, each takes a part of the batch."""
    places = [(np.arange(n) + 0.5) / n for n in (count, others)]
    return np.argsort(np.concatenate(places), kind="stable")


def _with_none(y, count):
    """The labels, and `count` labels that mean "none" in the same form."""
    if y.dtype.kind == "f":
        return y, np.full((count, *y.shape[1:]), np.nan, y.dtype)
    is_wide = y.dtype == "uint64"
    y = y.astype("int64" if is_wide else np.result_type(y.dtype, "int8"))
    return y, np.full((count, *y.shape[1:]), -1, y.dtype)
