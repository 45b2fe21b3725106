import dataclasses
from typing import ClassVar

from keras_modals._src.operations.mixing import Mixing


@dataclasses.dataclass(frozen=True)
class ClassMixing(Mixing):
    """Moves towards a latent of the same batch, whose label is mixed in as well.

    This is manifold mixup: of our operations the only one that does not preserve the
    label. The share is uniform between 0 and the magnitude.

    Args:
        partners: `"any"`, each sample of the batch alike; `"balanced"`, each class of
            the batch alike: a remedy for rare classes; or `"near"`, with a probability
            that falls with the distance of the targets. Defaults to `"any"`.
        bandwidth: Positive float, for `"near"` partners: the width of the kernel, in
            standard deviations of the batch's targets. Defaults to `1.0`.

    Reference:

    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)

    Example:

    >>> operation = keras_modals.operations.ClassMixing(partners="balanced")
    >>> policy = keras_modals.Policy({operation: (0.5, 0.5)})
    """

    name: ClassVar[str] = "class_mixing"
