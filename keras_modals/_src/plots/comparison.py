import numpy as np
from scipy import stats

from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals._src.evaluation.scores import ERRORS
from keras_modals._src.plots.style import COLORS, color_of, marker_of, new_axes


def plot_comparison(comparison, dataset=None, methods=None, ax=None):
    """Plots each method's change from `"none"` with its 95% confidence interval.

    Filled markers are differences that stay significant after the correction for the
    number of methods, which the title gives. Open markers may be noise.

    Args:
        comparison: A `Comparison`, as returned by `keras_modals.compare`.
        dataset: Name of one data set. Defaults to `None`: the mean over all data sets,
            with an interval that holds for these data sets, not for others.
        methods: Names, from top to bottom. Defaults to all, the best first.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    rows = _one_dataset(comparison, dataset) if dataset else _mean_of_all(comparison)
    tested = sum(not np.isnan(corrected_p) for _, _, corrected_p in rows.values())
    if methods is None:
        more_is_better = comparison.metric not in ERRORS
        methods = sorted(rows, key=lambda name: rows[name][0], reverse=more_is_better)
    methods = [name for name in methods if name in rows]
    ax = new_axes(ax, figsize=(6.4, 0.6 + 0.32 * len(methods)))
    for height, name in enumerate(reversed(methods)):
        change, margin, corrected_p = rows[name]
        ax.errorbar(
            change,
            height,
            xerr=0 if np.isnan(margin) else margin,
            marker="o",
            color=COLORS[0],
            markerfacecolor=COLORS[0] if corrected_p < 0.05 else "white",
            capsize=3,
        )
    ax.set_ylim(-0.6, len(methods) - 0.4)
    ax.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set_yticks(range(len(methods)), reversed(methods))
    ax.set_xlabel(
        f"change in test {_words(comparison.metric)} from none, {comparison.unit}"
    )
    title = dataset or f"mean of {len(_datasets(comparison))} data sets"
    if tested:
        ending = "s" if tested > 1 else ""
        title += f"\nfilled: p < 0.05, corrected for {tested} method{ending}"
    ax.set_title(title, fontsize="medium")
    ax.grid(axis="x", alpha=0.3)
    return ax


def _one_dataset(comparison, dataset):
    """Change, half the width of its interval, and corrected p-value of each method."""
    table = comparison.summary().loc[dataset]
    return {
        name: (
            row["change"],
            row["standard_error"] * stats.t.ppf(0.975, row["runs"] - 1),
            row["corrected_p"],
        )
        for name, row in table.iterrows()
        if name != BASELINE and not np.isnan(row["change"])
    }


def _mean_of_all(comparison):
    """Same as `_one_dataset`, for the methods that were run on every data set."""
    table = comparison.mean_changes()
    return {
        name: (
            row["change"],
            row["standard_error"] * stats.t.ppf(0.975, row["degrees_of_freedom"]),
            row["corrected_p"],
        )
        for name, row in table.iterrows()
    }


def plot_learning_curves(comparison, dataset, sizes, methods=None, ax=None):
    """Plots the test metric over the number of training samples.

    Args:
        comparison: A `Comparison` of runs with several sizes of one data set.
        dataset: Name of the data set, for the title.
        sizes: Dict from the number of training samples to the name of the data set in
            `comparison` that has this size.
        methods: Names. Defaults to all.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    table = comparison.summary()
    if methods is None:
        methods = table.index.unique("method")
    ax = new_axes(ax, figsize=(5.6, 4.0))
    numbers = sorted(sizes)
    for index, method in enumerate(methods):
        rows = [table.loc[(sizes[number], method)] for number in numbers]
        ax.errorbar(
            numbers,
            [row["mean"] for row in rows],
            yerr=[row["spread"] / np.sqrt(row["runs"]) for row in rows],
            color=color_of(index),
            marker=marker_of(index),
            capsize=3,
            label=method,
        )
    ax.set_xscale("log")
    ax.set_xticks(numbers, [str(number) for number in numbers])
    ax.minorticks_off()
    ax.set_xlabel("training samples")
    unit = "%" if comparison.scale == 100 else comparison.unit
    ax.set_ylabel(f"test {_words(comparison.metric)}, {unit}")
    ax.set_title(dataset)
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def _datasets(comparison):
    return list(dict.fromkeys(comparison.runs["dataset"]))


def _words(metric):
    return metric.replace("_", " ")
