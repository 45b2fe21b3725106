"""Mixup, manifold mixup and C-Mixup."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from keras import ops

from keras_modals._src.evaluation.augmented import latents
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.operations.mixing import Mixing
from keras_modals._src.policies.policy import Policy


@dataclasses.dataclass(frozen=True)
class BetaMixing(Mixing):
    """Mixing with a Beta-distributed share, as in the papers on mixup.

    Args:
        alpha: Positive float, both parameters of the Beta distribution.
    """

    name: ClassVar[str] = "beta_mixing"

    alpha: float = 1.0

    def share(self, magnitude, uniform):
        # Interpolates the quantiles linearly.
        last = len(_quantiles(self.alpha)) - 1
        place = uniform * last
        low = ops.floor(place)
        index = ops.cast(low, "int32")
        values = ops.convert_to_tensor(_quantiles(self.alpha))
        ends = [ops.take(values, ops.minimum(index + i, last)) for i in range(2)]
        return magnitude * (ends[0] + (place - low) * (ends[1] - ends[0]))


@functools.cache
def _quantiles(alpha, size=1025):
    draws = np.random.default_rng(0).beta(alpha, alpha, 400_000)
    return np.quantile(draws, np.linspace(0, 1, size)).astype("float32")


def mixup(trial, model, alpha, learning_rate=1.0):
    """Mixes the inputs, or the embeddings of tokens, and the labels of two samples
    (Zhang et al., 2018)."""
    return _beta_mixed(trial, model, "input", learning_rate, alpha=alpha)


def manifold_mixup(trial, model, alpha, learning_rate=1.0):
    """Mixup at a depth drawn for each step (Verma et al., 2019)."""
    layer = trial.layer or "auto"
    return _beta_mixed(trial, model, layer, learning_rate, alpha=alpha)


def c_mixup(trial, model, bandwidth, alpha=2.0, learning_rate=1.0):
    """Mixup of samples with similar targets, drawn by a Gaussian kernel (Yao et al.,
    2022)."""
    if not trial.kind.has_numbers:
        raise NotApplicableError("needs targets that are numbers")
    arguments = {"partners": "near", "bandwidth": bandwidth, "alpha": alpha}
    return _beta_mixed(trial, model, "input", learning_rate, **arguments)


def _beta_mixed(trial, model, layer, learning_rate, **arguments):
    policy = Policy({BetaMixing(**arguments): (1.0, 1.0)}, (0.0, 1.0))
    trial = dataclasses.replace(trial, layer=layer)
    train = latents(policy=policy, warmup_steps=0, learning_rate=learning_rate)
    return train(trial, model)
