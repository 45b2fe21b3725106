"""Base class of operations that move labels."""

import dataclasses
import math
import numbers
from typing import ClassVar

from keras_modals._src.arguments import check_choice
from keras_modals._src.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Mixing(Operation):
    """Mixes latents and labels of two samples.

    Base class of all operations that do not keep labels. A training step draws once,
    for all layers of a model: which rows are mixed, with which partners, how much, and
    at which of the layers. Subclasses may override `share`, which maps the magnitude to
    the partner's share, and `mix`, which computes the mixed latents.

    Args:
        partners: How to draw the partner: `"any"` weights all samples of the batch
            equally; `"balanced"` weights all classes of the batch equally, so that rare
            classes are mixed in as often as frequent ones; `"near"` uses a probability
            that falls with the distance between targets, as in C-Mixup. A sample is
            never its own partner. Defaults to `"any"`.
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
        """Computes the partner's share of the mixed latent and label.

        Args:
            magnitude: Float32, a scalar or `(n,)`, in `[0, 1]`. At 0 the share must be
                0.
            uniform: Float32 `(n,)`, uniform in `[0, 1)`.

        Returns:
            Float32 `(n,)` in `[0, 1]`.
        """
        return magnitude * uniform

    def mix(self, latents, partners, share):
        """Computes the mixed latents.

        Args:
            latents, partners: `(n, features)`.
            share: `(n, 1)`.
        """
        return latents + share * (partners - latents)
