from keras_modals._src.evaluation.compare import compare
from keras_modals._src.evaluation.comparison import Comparison
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.latent_monitor import LatentMonitor
from keras_modals._src.evaluation.latents import latents_dataframe
from keras_modals._src.evaluation.methods import METHODS, Method
from keras_modals._src.evaluation.trial import Trial

__all__ = [
    "METHODS",
    "Comparison",
    "LatentMonitor",
    "Method",
    "NotApplicableError",
    "Trial",
    "compare",
    "latents_dataframe",
]
