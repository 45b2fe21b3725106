import dataclasses
from typing import ClassVar

from keras_modals._src import backend
from keras_modals._src.operations.operation import Move, Operation


@dataclasses.dataclass(frozen=True)
class ClassMixing(Operation):
    """Moves towards a latent of the same batch, whose label is mixed in as well.

    This is manifold mixup: the only operation here that does not preserve the label.
    The share is uniform between 0 and the magnitude.

    Reference:

    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)
    """

    name: ClassVar[str] = "class_mixing"
    keeps_labels: ClassVar[bool] = False
    num_uniform: ClassVar[int] = 1

    def move(self, latents, magnitude, batch, draw):
        share = magnitude * draw.uniform
        partner = backend.take_rows(batch.latents, batch.partner)
        moved = latents + share * (partner - latents)
        return Move(moved, batch.can_mix, share[:, 0])
