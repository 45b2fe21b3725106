import dataclasses
from typing import ClassVar

from keras_modals._src.operations.operation import Move, Operation


@dataclasses.dataclass(frozen=True)
class GaussianNoise(Operation):
    """Adds Gaussian noise, scaled per feature by the standard deviation of the class.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    """

    name: ClassVar[str] = "gaussian_noise"
    needs_memory: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True

    def move(self, latents, magnitude, batch, draw):
        count, _, deviation = batch.statistics
        return Move(latents + magnitude * draw.noise * deviation, count >= 2)
