import dataclasses
from typing import ClassVar

from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_choice
from keras_modals._src.indices import uniform_index
from keras_modals._src.operations.operation import Move, Operation


@dataclasses.dataclass(frozen=True)
class DifferenceTransform(Operation):
    """Moves a latent by the difference between two latents of one class.

    Args:
        donors: `"class"` takes the two latents from the sample's own class, `"any"`
            from the class of a random sample of the batch. Defaults to `"any"`: the
            variation within one class may apply to another.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> operation = keras_modals.operations.DifferenceTransform(donors="class")
    >>> policy = keras_modals.Policy.single(operation, 0.3)
    """

    name: ClassVar[str] = "difference_transform"
    needs_memory: ClassVar[bool] = True
    num_uniform: ClassVar[int] = 3

    donors: str = "any"

    def __post_init__(self):
        check_choice("donors", self.donors, ("class", "any"))

    def move(self, latents, magnitude, batch, draw):
        if self.donors == "any":
            sample = uniform_index(draw.uniform[:, 0], batch.size)
            labels = backend.take_rows(batch.sample_labels, sample)
            count = batch.memory.counts(labels)
        else:
            labels, count = batch.labels, batch.counts
        first = uniform_index(draw.uniform[:, 1], count)
        others = uniform_index(draw.uniform[:, 2], count - 1)
        second = (first + 1 + others) % ops.maximum(count, 1)
        difference = batch.memory.take_latents(
            labels, first
        ) - batch.memory.take_latents(labels, second)
        return Move(latents + magnitude * difference, count >= 2)
