import dataclasses
from typing import ClassVar

from keras_modals._src.operations.mixing import Mixing


@dataclasses.dataclass(frozen=True)
class ClassMixing(Mixing):
    """Moves towards a latent of the same batch, whose label is mixed in as well.

    This is manifold mixup: of our operations the only one that does not preserve the
    label. The share is uniform between 0 and the magnitude.

    Args:
        partners: `"any"`, each sample of the batch alike, or `"balanced"`, each class
            of the batch alike: a remedy for rare classes. Defaults to `"any"`.

    Reference:

    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)

    Example:

    >>> operation = keras_modals.operations.ClassMixing(partners="balanced")
    >>> policy = keras_modals.Policy({operation: (0.5, 0.5)})
    """

    name: ClassVar[str] = "class_mixing"
