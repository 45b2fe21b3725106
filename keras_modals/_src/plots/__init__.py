"""Plots with matplotlib. Requires the extra `keras-modals[plot]`."""

from keras_modals._src.plots.classes import plot_classes
from keras_modals._src.plots.comparison import plot_comparison, plot_learning_curves
from keras_modals._src.plots.latents import plot_latents
from keras_modals._src.plots.training import (
    plot_discriminator,
    plot_losses,
    plot_schedule,
)

__all__ = [
    "plot_classes",
    "plot_comparison",
    "plot_discriminator",
    "plot_latents",
    "plot_learning_curves",
    "plot_losses",
    "plot_schedule",
]
