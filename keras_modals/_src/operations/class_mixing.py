import dataclasses
from typing import ClassVar

from keras_modals._src.operations.mixing import Mixing


@dataclasses.dataclass(frozen=True)
class ClassMixing(Mixing):
    """Moves a latent toward another latent of the batch and mixes their labels.

    This is manifold mixup, the only built-in operation that does not preserve the
    label. The partner's share is uniform between 0 and the magnitude.

    Args:
        partners: How to draw the partner: `"any"` weights all samples of the batch
            equally; `"balanced"` weights all classes of the batch equally, which helps
            rare classes; `"near"` uses a probability that falls with the distance
            between targets. Defaults to `"any"`.
        bandwidth: Positive float, for `"near"` partners: the width of the kernel, in
            standard deviations of the batch's targets. Defaults to `1.0`.

    Reference:

    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)

    Example:

    >>> operation = keras_modals.operations.ClassMixing(partners="balanced")
    >>> policy = keras_modals.Policy({operation: (0.5, 0.5)})
    """

    name: ClassVar[str] = "class_mixing"
