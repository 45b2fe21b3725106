"""What is compared: the package's methods, the paper's policy, and parts left out."""

from keras_modals import DEFAULT_POLICY, Policy
from keras_modals.evaluation import METHODS, Method
from keras_modals.evaluation.methods import latents

PAPER = {"num_views": 1, "gradient_to_encoder": True, "partners": "class"}
TRIPLET, PRIOR = {"triplet_weight": 0.3}, {"prior_weight": 0.01}
CANDIDATES = (
    {},
    {"dropout": 0.5},
    {"triplet_weight": 0.3},
    {"dropout": 0.5, "triplet_weight": 0.3},
)
_OTHERS = {
    "MODALS tuned": Method(latents(policy=DEFAULT_POLICY), CANDIDATES),
    "MODALS with triplet": Method(latents(**TRIPLET)),
    "MODALS with prior": Method(latents(**PRIOR)),
    "MODALS with triplet and prior": Method(latents(**TRIPLET, **PRIOR)),
    "paper's policy": Method(latents(policy=Policy.constant(0.5, 0.5), **PAPER)),
}

#: In the order in which they are run, seed by seed.
_ORDER = (
    "none",
    "MODALS",
    "one-run search",
    "dropout",
    "mixup",
    "manifold mixup",
    "label smoothing",
    "input noise",
    "MODALS tuned",
    "triplet",
    "prior",
    "MODALS with triplet",
    "MODALS with prior",
    "MODALS with triplet and prior",
    "paper's policy",
    "random policy",
    "hard interpolation",
    "hard extrapolation",
    "gaussian noise",
    "difference transform",
    "SMOTE",
    "population search",
)
ALL = {name: {**METHODS, **_OTHERS}[name] for name in _ORDER}
