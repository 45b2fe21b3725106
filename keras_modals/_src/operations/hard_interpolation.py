import dataclasses
import numbers
from typing import ClassVar

from keras import ops

from keras_modals._src.arguments import check_choice
from keras_modals._src.indices import uniform_index
from keras_modals._src.memory.hardness import HARDNESS
from keras_modals._src.operations.operation import Move, Operation

#: A hard example is the nearest in direction of `CANDIDATES` latents. Each candidate
#: is chosen from `CANDIDATE_POOL` uniformly drawn ones in proportion to exp(hardness).
CANDIDATES, CANDIDATE_POOL = 2, 8


@dataclasses.dataclass(frozen=True)
class HardInterpolation(Operation):
    """Moves a latent toward a hard example of its class.

    The cost does not depend on the size of the memory: two candidates are drawn by
    hardness, each from eight latents of the class, whereas the paper draws a share of
    the whole class. The operation takes the candidate nearest in direction, whereas the
    reference code takes the farthest.

    Args:
        hardness: What makes an example hard: `"loss"` (of the sample when it was
            last seen), `"l2"`, `"cosine"`, `"margin"` (how close it is to the center of
            another class in the batch) or `"uniform"`. Defaults to `"loss"`.
        temperature: Positive float. Each candidate is drawn from a few uniformly drawn
            latents of the class in proportion to `exp(hardness / temperature)`.
            Defaults to `1.0`.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> operation = keras_modals.operations.HardInterpolation(hardness="margin")
    >>> policy = keras_modals.Policy.single(operation, 0.3)
    """

    name: ClassVar[str] = "hard_interpolation"
    needs_memory: ClassVar[bool] = True
    num_uniform: ClassVar[int] = 2 * CANDIDATES * CANDIDATE_POOL

    hardness: str = "loss"  # type: ignore[misc]
    temperature: float = 1.0

    def __post_init__(self):
        check_choice("hardness", self.hardness, HARDNESS)
        if not (
            isinstance(self.temperature, numbers.Real) and float(self.temperature) > 0
        ):
            raise ValueError(
                "Invalid value received for argument `temperature`. Expected a "
                f"positive float. Received: temperature={self.temperature}"
            )

    def move(self, latents, magnitude, batch, draw):
        count, mean, _ = batch.statistics
        labels = batch.labels[:, None, None]
        shape = (-1, CANDIDATES, CANDIDATE_POOL)
        where, choice = ops.split(draw.uniform, 2, axis=1)
        slots = uniform_index(ops.reshape(where, shape), count[:, None, None])
        hardness = batch.memory.take_hardness(labels, slots)
        score = hardness / self.temperature + _gumbel(ops.reshape(choice, shape))
        winner = ops.argmax(score, axis=-1)[..., None]
        slots = ops.take_along_axis(slots, winner, axis=-1)[..., 0]
        candidates = batch.memory.take_latents(labels[..., 0], slots)
        similarity = _cosine(candidates - mean[:, None], (latents - mean)[:, None])
        nearest = ops.argmax(ops.stop_gradient(similarity), axis=-1)[:, None, None]
        hard_example = ops.take_along_axis(candidates, nearest, axis=1)[:, 0]
        return Move(latents + magnitude * (hard_example - latents), count >= 1)


def _gumbel(uniform):
    return -ops.log(-ops.log(ops.clip(uniform, 1e-7, 1.0 - 1e-7)))


def _cosine(x, y):
    norms = ops.sum(ops.square(x), axis=-1) * ops.sum(ops.square(y), axis=-1)
    return ops.sum(x * y, axis=-1) / ops.sqrt(norms + 1e-12)
