from functools import cached_property

from keras import ops

from keras_modals._src import backend
from keras_modals._src.memory.class_memory import ClassStatistics


class Batch:
    """The batch that operations act on, and what a memory says of its classes.

    Each of `n` rows is one view of a sample: row `v * batch + i` is view `v` of sample
    `i`. What an operation reads is looked up once, per sample and not per view.

    Attributes:
        latents: Float32 `(batch, features)`, the samples' latents before any operation.
        sample_labels: int32 `(batch,)`, the samples' class indices, -1 for none.
        labels: int32 `(n,)`, of each row's sample.
        memory: The `ClassMemory`, `None` without one.
    """

    def __init__(self, latents, labels, views, memory=None):
        self.latents = latents
        self.sample_labels = labels
        self._views = views
        self.labels = self._tile(labels)
        self.memory = memory

    @property
    def size(self):
        """The number of samples."""
        return ops.shape(self.sample_labels)[0]

    @cached_property
    def counts(self):
        """How many latents of each row's class the memory holds, int32 `(n,)`."""
        return self._tile(self.memory.counts(self.sample_labels))

    @cached_property
    def statistics(self):
        """`ClassStatistics` of each row's class: `count`, `mean`, `deviation`."""
        statistics = self.memory.statistics(self.sample_labels)
        return ClassStatistics(*(self._tile(value) for value in statistics))

    def _tile(self, tensor):
        """What samples have, for each row."""
        return tensor if self._views == 1 else backend.tile_rows(tensor, self._views)
