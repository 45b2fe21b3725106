"""Pictures, with matplotlib. Needs the extra `keras-modals[plot]`."""

from keras_modals.plots.comparison import plot_comparison, plot_learning_curves

__all__ = ["plot_comparison", "plot_learning_curves"]
