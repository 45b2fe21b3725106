"""Method comparison and latent extraction. Requires the extra
`keras-modals[compare]`."""

from keras_modals._src.evaluation import *  # noqa: F403
from keras_modals._src.evaluation import __all__ as __all__
