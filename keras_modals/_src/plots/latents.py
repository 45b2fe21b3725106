from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from keras_modals._src.evaluation.latents import CLEAN, latents_dataframe
from keras_modals._src.plots.style import color_of, marker_of, new_axes


def plot_latents(model, x, y, operations=None, arrows=40, class_names=None, ax=None):
    """Plots latents in two dimensions by class, with arrows for operations.

    The dimensions are the first two principal components of the clean latents.

    Args:
        model: A trained `ModalsModel`.
        x, y: Some samples, as in `fit`; a few hundred are enough.
        operations: As in `keras_modals.evaluation.latents_dataframe`.
        arrows: Integer, the number of samples to draw arrows for.
        class_names: Names of the classes, by index. Defaults to the indices.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    frame = latents_dataframe(model, x, y, operations)
    features = [name for name in frame if name.startswith("z")]
    clean = frame[frame["operation"] == CLEAN]
    projection = PCA(2).fit(clean[features].to_numpy())
    frame[["first", "second"]] = projection.transform(frame[features].to_numpy())
    clean = frame[frame["operation"] == CLEAN].set_index("sample")
    ax = new_axes(ax, figsize=(6.4, 4.8))
    for index, (label, group) in enumerate(clean.groupby("label")):
        ax.scatter(
            group["first"],
            group["second"],
            s=14,
            color=color_of(index),
            marker=marker_of(index),
            alpha=0.6,
            label=str(class_names[label] if class_names is not None else label),
        )
    chosen = clean.index[:: max(1, len(clean) // max(arrows, 1))][:arrows]
    names = [name for name in frame["operation"].unique() if name != CLEAN]
    handles = []
    for name, style in zip(names, _styles(), strict=False):
        moved = frame[frame["operation"] == name].set_index("sample")
        for sample in chosen:
            ax.annotate(
                "",
                moved.loc[sample, ["first", "second"]].astype(float),
                clean.loc[sample, ["first", "second"]].astype(float),
                arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0, **style},
            )
        ax.update_datalim(moved.loc[chosen, ["first", "second"]].to_numpy())
        handles.append(Line2D([], [], **style, label=name.replace("_", " ")))
    ax.autoscale_view()
    shares = 100 * projection.explained_variance_ratio_
    ax.set_xlabel(f"first principal component ({shares[0]:.0f}% of variance)")
    ax.set_ylabel(f"second principal component ({shares[1]:.0f}% of variance)")
    handles = [*ax.get_legend_handles_labels()[0], *handles]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _styles():
    return (
        {"color": "black", "linestyle": "-", "linewidth": 0.8},
        {"color": "dimgray", "linestyle": "--", "linewidth": 0.8},
        {"color": "black", "linestyle": ":", "linewidth": 1.1},
        {"color": "gray", "linestyle": "-.", "linewidth": 0.8},
        {"color": "silver", "linestyle": "-", "linewidth": 1.4},
    )
