from functools import cached_property

from keras import ops

from keras_modals._src import backend
from keras_modals._src.memory.class_memory import ClassStatistics


class Batch:
    """The batch that operations act on, with the memory's statistics of its classes.

    Each of the `n` rows is one view of a sample: row `v * batch + i` is view `v` of
    sample `i`. Lookups in the memory happen once per sample, not once per view.

    Attributes:
        latents: Float32 `(batch, features)`, the samples' latents before any operation.
        sample_labels: int32 `(batch,)`, the samples' class indices; -1 for no label.
        labels: int32 `(n,)`, the class index of each row's sample.
        memory: The `ClassMemory`; `None` if the layer has none.
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
        """The number of remembered latents of each row's class, int32 `(n,)`."""
        return self._tile(self.memory.counts(self.sample_labels))

    @cached_property
    def statistics(self):
        """`ClassStatistics` of each row's class: `count`, `mean`, `deviation`."""
        statistics = self.memory.statistics(self.sample_labels)
        return ClassStatistics(*(self._tile(value) for value in statistics))

    def _tile(self, tensor):
        """Repeats per-sample values for every row."""
        return tensor if self._views == 1 else backend.tile_rows(tensor, self._views)
