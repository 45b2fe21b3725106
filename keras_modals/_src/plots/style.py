"""Shared style of the plots."""

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

#: The colorblind-safe palette of Okabe and Ito, then colors of the palette of Tol.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
    "#882255",
    "#332288",
    "#999933",
    "#AA4499",
    "#661100",
    "#44AA99",
    "#888888",
    "#DDCC77",
)
MARKERS = "osD^vP*X"


def new_axes(ax, **figure):
    """Returns the given axes, or those of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(layout="constrained", **figure)[1]


def color_of(index):
    return COLORS[index % len(COLORS)]


def marker_of(index):
    """The marker of a line. The first 128 lines differ in color or marker."""
    return MARKERS[(index + index // len(COLORS)) % len(MARKERS)]


def plot_over_epochs(ax, epochs, values, index, label):
    ax.plot(
        epochs,
        values,
        color=color_of(index),
        marker=marker_of(index),
        markevery=max(1, len(values) // 10),
        markersize=4,
        label=label,
    )


def finish_epochs(ax, title=None):
    """Formats the axis of epochs and adds a legend next to the lines."""
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=title)
