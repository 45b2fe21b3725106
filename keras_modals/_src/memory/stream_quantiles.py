import keras
from keras import ops

from keras_modals._src import backend

#: Number of recent values to keep.
NUM_KEPT = 1024

COUNT, NEXT_SLOT = range(2)


@keras.saving.register_keras_serializable("keras_modals")
class StreamQuantiles(keras.layers.Layer):
    """Edges between equally frequent bins of a stream of numbers.

    The edges are the exact quantiles of the last 1,024 numbers: edge `k` is the
    smallest number such that at least `k / num_bins` of them are not above it.

    Args:
        num_bins: Integer, the number of bins.
    """

    def __init__(self, num_bins, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.num_bins = num_bins

    def build(self, input_shape=None):
        def state(name, shape, dtype):
            return self.add_weight(
                name=name,
                shape=shape,
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

        # The last slot is scratch space for numbers that must not be kept.
        self.numbers = state("numbers", (NUM_KEPT + 1,), "float32")
        self.counters = state("counters", (2,), "int32")

    def update(self, numbers):
        """Adds a batch, evicting the oldest numbers.

        Args:
            numbers: `(batch,)`. Numbers that are not finite are left out.

        Returns:
            The updated edges, float32 `(num_bins - 1,)`, ascending; infinity until
            there are numbers.
        """
        numbers = ops.stop_gradient(ops.cast(numbers, "float32"))
        (numbers,) = backend.gather((numbers,))
        numbers = numbers[-NUM_KEPT:]
        known = ops.isfinite(numbers)
        order = ops.cumsum(ops.cast(known, "int32"))
        counters = ops.convert_to_tensor(self.counters)
        slots = (counters[NEXT_SLOT] + order - 1) % NUM_KEPT
        slots = ops.where(known, slots, NUM_KEPT)
        numbers = ops.where(known, numbers, 0.0)
        backend.put_rows(self.numbers, slots, numbers)
        count = ops.clip(counters[COUNT] + order[-1], 0, NUM_KEPT)
        next_slot = (counters[NEXT_SLOT] + order[-1]) % NUM_KEPT
        self.counters.assign(ops.stack([count, next_slot]))
        return self._edges(count)

    def _edges(self, count):
        kept = ops.convert_to_tensor(self.numbers)[:NUM_KEPT]
        is_filled = ops.arange(NUM_KEPT, dtype="int32") < count
        kept = ops.where(is_filled, kept, float("inf"))
        ranks = ops.arange(1, self.num_bins, dtype="int32") * count
        # The share of numbers up to index `place` is (place + 1) / count.
        places = ops.maximum((ranks + self.num_bins - 1) // self.num_bins - 1, 0)
        return ops.take(ops.sort(kept), places)

    def get_config(self):
        return {**super().get_config(), "num_bins": self.num_bins}
