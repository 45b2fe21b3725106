import keras
import numpy as np

from keras_modals._src.arguments import check_integer
from keras_modals._src.data.sources import (
    ArraySource,
    StreamSource,
    are_arrays,
    concatenated,
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
    """Joins samples with labels and samples without, into batches of so many of each.

    For the `fit` of a model that learns from both: one that is compiled with
    `consistency_weight`, or with a `keras_modals.Consistency`. An epoch is one pass of
    the samples with labels, in whole batches; the others go on from epoch to epoch.

    Args:
        labeled: Samples with labels, a tuple `(x, y)` or `(x, y, sample_weight)` of
            arrays, or a stream of batches of such: a `keras.utils.PyDataset`, a
            `tf.data.Dataset`, a `torch.utils.data.DataLoader`, or what can be iterated
            over again and again. `y` is one array.
        unlabeled: Samples without labels, arrays like `x`; or a stream of batches of
            such, whose labels, if it has some, are not looked at.
        batch_size: Integer, how many samples with labels are in a batch; all that there
            are, if these are fewer. Batches of a stream stay as they are. Defaults to
            `32`.
        unlabeled_per_batch: Integer, how many samples without labels are. Defaults to
            twice `batch_size`.
        num_batches: Integer, the number of batches in an epoch, where a stream does not
            say how many it has.
        shuffle: Boolean, whether arrays are shuffled, anew in each epoch. Streams have
            orders of their own.
        seed: Optional integer, that of the shuffling.

    Returns:
        A `keras.utils.PyDataset`. The label of samples without one is -1 where labels
        are integers, and NaN where they are floats.

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
    """What `join_unlabeled` returns; the arguments are its own.

    Attributes:
        epoch: Integer, which epoch it is, by which samples are drawn.
    """

    def __init__(
        self, labeled, unlabeled, batch_size, per_batch, num_batches, shuffle, seed
    ):
        super().__init__()
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(labeled, tuple) and are_arrays(labeled):
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
                "The stream of samples with labels does not say how many batches it "
                f"has: pass `num_batches`. Received: labeled={labeled!r}"
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
        if not hasattr(y, "shape") or y.dtype.kind not in "biuf":
            raise ValueError(
                "Expected samples with labels, a tuple `(x, y)` of arrays, with one "
                f"array of labels, of numbers. Received: labels {y!r}"
            )
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
            "Samples without labels must be arrays like those with labels, `x` alone, "
            "of the same shape: pad sequences alike. Received: inputs of shapes "
            f"{_shapes(x)}, and {_shapes(others)} without labels"
        )


def _shapes(structure):
    return keras.tree.map_structure(lambda each: each.shape, structure)


def _spread(count, others):
    """An order in which each part of a batch has its share of both kinds of samples:
    several devices take a part each."""
    places = [(np.arange(n) + 0.5) / n for n in (count, others)]
    return np.argsort(np.concatenate(places), kind="stable")


def _with_none(y, count):
    """Labels, and as many that say that there is none."""
    if y.dtype.kind == "f":
        return y, np.full((count, *y.shape[1:]), np.nan, y.dtype)
    is_wide = y.dtype == "uint64"
    y = y.astype("int64" if is_wide else np.result_type(y.dtype, "int8"))
    return y, np.full((count, *y.shape[1:]), -1, y.dtype)
