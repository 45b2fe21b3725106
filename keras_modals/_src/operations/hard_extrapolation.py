import dataclasses
from typing import ClassVar

from keras_modals._src.operations.operation import Move, Operation


@dataclasses.dataclass(frozen=True)
class HardExtrapolation(Operation):
    """Moves a latent away from the center of its class.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    """

    name: ClassVar[str] = "hard_extrapolation"
    needs_memory: ClassVar[bool] = True

    def move(self, latents, magnitude, batch, draw):
        count, mean, _ = batch.statistics
        return Move(latents + magnitude * (latents - mean), count >= 1)
