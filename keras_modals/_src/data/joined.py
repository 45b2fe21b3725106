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
        A `keras.utils.PyDataset`. In its batches samples with labels come first. The
        label of others is -1 where labels are integers, and NaN where they are floats.

    Example:

    >>> x, y = np.random.normal(size=(100, 8)), np.arange(20) % 3
    >>> data = keras_modals.join_unlabeled((x[:20], y), x[20:], batch_size=10)
    >>> inputs, targets = data[0]
    >>> inputs.shape, int(targets[10:].max()), data.num_batches
    ((30, 8), -1, 2)
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
        if not hasattr(y, "shape"):
            raise ValueError(
                "Expected samples with labels, `(x, y)`, with one array of labels. "
                f"Received: labels of type {type(y).__name__}"
            )
        others = self._unlabeled(self.epoch * self._num_batches + index)
        count = len(keras.tree.flatten(others)[0])
        x, y = concatenated(x, others), np.concatenate(_with_none(y, count))
        if sample_weight is None:
            return x, y
        ones = np.ones((count, *sample_weight.shape[1:]), sample_weight.dtype)
        return x, y, np.concatenate([sample_weight, ones])

    def on_epoch_end(self):
        self.epoch += 1


def _with_none(y, count):
    """Labels, and as many that say that there is none."""
    if y.dtype.kind == "f":
        return y, np.full((count, *y.shape[1:]), np.nan, y.dtype)
    y = y.astype(np.result_type(y.dtype, "int8"))
    return y, np.full((count, *y.shape[1:]), -1, y.dtype)
