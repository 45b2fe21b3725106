"""What every operation that moves labels has in common."""

import dataclasses
import math
import numbers
from typing import ClassVar

from keras_modals._src.arguments import check_choice
from keras_modals._src.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Mixing(Operation):
    """Mixes a latent with that of another sample of the batch, and their labels alike:
    the base class of all operations that do not keep labels.

    A training step draws once, for all layers of a model: who is mixed, with whom, how
    much, and at which of the layers. What is left to a subclass is `share`, how much of
    the partner there is for a magnitude, and `mix`, where the latent moves.

    Args:
        partners: `"any"`, each sample of the batch alike; `"balanced"`, each class of
            the batch alike, so that rare classes are mixed in as often as frequent
            ones; or `"near"`, with a probability that falls with the distance of the
            targets, as in C-Mixup. A sample never meets itself. Defaults to `"any"`.
        bandwidth: Positive float, for `"near"` partners: the width of the Gaussian
            kernel, in standard deviations of the batch's targets. Defaults to `1.0`.

    Reference:

    - [Yao et al., 2022](https://arxiv.org/abs/2210.05775), C-Mixup

    Example:

    >>> class EvenMixing(keras_modals.operations.Mixing):
    ...     name = "even_mixing"
    ...
    ...     def share(self, magnitude, uniform):
    ...         return 0.5 * magnitude + 0.0 * uniform
    >>> policy = keras_modals.Policy({"even_mixing": (0.5, 1.0)})
    """

    keeps_labels: ClassVar[bool] = False

    partners: str = "any"
    bandwidth: float = 1.0

    def __post_init__(self):
        check_choice("partners", self.partners, ("any", "balanced", "near"))
        if not (
            isinstance(self.bandwidth, numbers.Real)
            and 0 < float(self.bandwidth) < math.inf
        ):
            raise ValueError(
                "Invalid value received for argument `bandwidth`. Expected a positive "
                f"float. Received: bandwidth={self.bandwidth}"
            )

    def share(self, magnitude, uniform):
        """The partner's share, in latent and label.

        Args:
            magnitude: Float32, a scalar or `(n,)`, in `[0, 1]`. At 0 the share is 0.
            uniform: Float32 `(n,)`, uniform in `[0, 1)`.

        Returns:
            Float32 `(n,)` in `[0, 1]`.
        """
        return magnitude * uniform

    def mix(self, latents, partners, share):
        """The mixed latents.

        Args:
            latents, partners: `(n, features)`.
            share: `(n, 1)`.
        """
        return latents + share * (partners - latents)
