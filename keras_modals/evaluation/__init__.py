from keras_modals.evaluation.compare import compare
from keras_modals.evaluation.comparison import Comparison
from keras_modals.evaluation.latent_monitor import LatentMonitor
from keras_modals.evaluation.latents import latents_dataframe
from keras_modals.evaluation.methods import METHODS, Method, NotApplicableError
from keras_modals.evaluation.trial import Trial

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
