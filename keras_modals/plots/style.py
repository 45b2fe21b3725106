"""What the pictures have in common."""

import matplotlib.pyplot as plt

#: Okabe and Ito's colours, which colour-blind eyes tell apart.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
MARKERS = "osD^vP*X"


def new_axes(ax, **figure):
    """The axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(layout="constrained", **figure)[1]


def color_of(index):
    return COLORS[index % len(COLORS)]


def marker_of(index):
    return MARKERS[index % len(MARKERS)]
