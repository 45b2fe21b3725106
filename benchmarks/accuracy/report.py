"""Reports results as Markdown tables and plots."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.accuracy import stored
from benchmarks.accuracy.studies import (
    ENCODERS_OF_TUNING,
    FEW_LABELS,
    LABEL_CURVES,
    OF_ENCODERS,
    OTHER_TARGETS,
    VALIDATED,
)
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals.evaluation import Comparison
from keras_modals.plots import plot_learning_curves

#: Metrics to report in addition to the one that chooses settings.
ALSO = {
    "accuracy": ("log_loss", "calibration_error"),
    "balanced_accuracy": ("macro_f1", "log_loss"),
}
#: Methods that all kinds of targets were trained with, to their labels and colors.
_OF_ALL_KINDS = {
    "latent mixing, rate 2": ("latent mixing, twice the learning rate", "#0072B2"),
    "mixup": ("mixup, its rate chosen by validation", "#E69F00"),
    "none, rate 2": ("twice the learning rate alone", "#555555"),
}

#: Methods that this package adds to the best-known alternatives.
OURS = (
    "latent mixing",
    "latent mixing tuned",
    "latent mixing, class weights",
    "latent mixing, oversampling",
    "one-run search",
)
OTHERS = (
    "none",
    "label smoothing",
    "dropout",
    "mixup",
    "manifold mixup",
    "class weights",
    "oversampling",
    "tuned threshold",
    "focal loss",
    "logit adjustment",
)
#: The method that is best on validation samples, among the alternatives and among all.
RIVAL, BEST_OF_OURS, BEST = "best of the others", "best of ours", "best of all"
#: The defaults with unlabeled samples, and the best of the plain model and the defaults
#: without and with them, on validation samples.
CONSISTENT, CHOSEN = "consistency of 1, threshold 0.8", "best of these three"


def read(path, metric="accuracy", chosen_by=None, **selected):
    """Returns the `complete` part of a file. If it includes the defaults and other
    methods, adds the choice among these by validation."""
    return _with_choices(complete(stored.read(path, metric, chosen_by), **selected))


def next_to(path, method):
    """Returns the part of a file with the data sets and seeds that a method was run on,
    and with the methods that were run on all of these."""
    pair = ["dataset", "seed"]
    runs = stored.read(path, "accuracy").to_dataframe().drop(columns="setting")
    pairs = runs.loc[runs["method"] == method, pair].drop_duplicates()
    runs = runs.merge(pairs)
    ran = runs.groupby("method")[pair].apply(lambda each: len(each.drop_duplicates()))
    on_all = ran.index[ran == len(pairs)]
    return _with_choices(Comparison(runs[runs["method"].isin(on_all)], "accuracy"))


def _with_choices(comparison):
    ran = set(comparison.runs["method"])
    others = [method for method in OTHERS if method in ran]
    if "latent mixing" not in ran or len(others) < 2:
        return comparison
    ours = [method for method in OURS if method in ran]
    comparison = comparison.with_choice(RIVAL, others)
    return comparison.with_choice(BEST, [*ours, *others])


def print_report(path, metric):
    print(table(read(path, metric)))
    print(f"\n{brief(path, metric)}")


def other_targets(path):
    """Yields triples of what is predicted, a metric, and a `table` of the data sets."""
    for title, comparison in _of_targets(path):
        ran = set(comparison.runs["method"].str.partition("(")[0])
        ours = {name for name in ran if name.startswith("latent mixing")}
        with_rival = comparison.with_choice(RIVAL, ran - ours)
        yield title, comparison.metric, table(with_rival.with_choice(BEST, ran))


def context(path, networks):
    """Returns a Markdown table of mean test accuracies in points, data sets in rows.

    Columns are the plain network, the method that validation chose, and the
    alternatives to networks, all with the same seeds. The best is in bold.

    Args:
        path: Path of the file from `benchmarks.accuracy.context`.
        networks: `Comparison` of networks, with the choice by validation.
    """
    parts = networks.runs, stored.read(path).runs
    seeds = [runs[["dataset", "seed"]].drop_duplicates() for runs in parts]
    own, others = (
        Comparison(runs.merge(pairs), "accuracy").summary()["mean"].unstack("method")
        for runs, pairs in zip(parts, seeds[::-1], strict=True)
    )
    shown = own[[BASELINE, BEST]].join(others)
    rows = [("data set", *shown.columns), ("---",) * (len(shown.columns) + 1)]
    for name, means in shown.iterrows():
        cells = ["" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
        best = np.nanargmax(means)
        cells[best] = f"**{cells[best]}**"
        rows.append((name, *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def encoders(path):
    """Yields pairs of a kind of data and a `table` of its encoders, if there are any
    with complete runs."""
    comparison = stored.read(path, "accuracy")
    for title, names in OF_ENCODERS.items():
        found = complete(comparison, 1.0, names)
        if len(found.runs):
            yield title, table(found)


def encoders_of_tuning(path):
    """Returns a `table` of encoders of audio and token texts, on validation samples."""
    plain, ours = BASELINE, "latent mixing"
    methods = [plain, f"{plain}, rate 2", ours, f"{ours}, rate 2", "mixup"]
    comparison = stored.read(path, "accuracy")
    return table(complete(comparison, 1.0, ENCODERS_OF_TUNING, methods))


def choosing(path):
    """Returns a Markdown table of mean changes by a choice on validation samples, among
    other methods, among ours and among all, in columns for their number."""
    runs = stored.read(path).runs
    rows = {RIVAL: [], BEST_OF_OURS: [], BEST: []}
    for size in VALIDATED:
        chosen = Comparison(runs[runs["dataset"].str.endswith(f"~{size}")], "accuracy")
        ran = set(chosen.runs["method"].str.partition("(")[0])
        for name, methods in zip(
            rows, (ran - set(OURS), {BASELINE, *OURS} & ran, ran), strict=True
        ):
            means = chosen.with_choice(name, methods).mean_changes()
            rows[name].append(_change(means.loc[name]))
    head = ("chosen among", *(f"{size} samples" for size in VALIDATED))
    lines = [head, ("---",) * len(head), *((name, *row) for name, row in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _of_targets(path):
    runs = stored.read(path).runs
    for title, (metric, names) in OTHER_TARGETS.items():
        yield title, Comparison(runs[runs["dataset"].isin(names)], metric)


def by_kind(tuning, targets):
    """Yields pairs of what is predicted and a `Comparison`: for classes, from the file
    of the study `tuning`, and for the other kinds, from that of `targets`."""
    yield "Classes", stored.read(tuning, "accuracy")
    yield from _of_targets(targets)


def plot_kinds(tuning, targets):
    """Plots mean changes by what is predicted, for the methods that all kinds have."""
    means = {title: each.mean_changes() for title, each in by_kind(tuning, targets)}
    _, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    places = np.arange(len(means))
    for index, (method, (label, color)) in enumerate(_OF_ALL_KINDS.items()):
        rows = [mean.loc[method] for mean in means.values()]
        half = [
            row["standard_error"] * stats.t.ppf(0.975, row["degrees_of_freedom"])
            for row in rows
        ]
        ax.errorbar(
            [row["change"] for row in rows],
            places + 0.2 * (index - 1),
            xerr=half,
            fmt="os^"[index],
            color=color,
            label=label,
        )
    ax.axvline(0, color="0.6", linewidth=1)
    ax.set_yticks(places, means)
    ax.invert_yaxis()
    ax.set_xlabel("change from the plain model, points")
    ax.legend(loc="lower right")
    return ax


def save(ax, path):
    """Saves a plot to a file."""
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def _datasets(runs):
    return list(dict.fromkeys(runs["dataset"]))


def plot_label_curves(path):
    """Plots test accuracy over the number of labels, an axis for each data set."""
    comparison = stored.read(path, "accuracy")
    methods = [BASELINE, "latent mixing", CONSISTENT, "all labels"]
    _, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for ax, (name, sizes) in zip(axes.flat, LABEL_CURVES.items(), strict=True):
        sizes = {size: f"{name}+{size}" for size in sizes}
        plot_learning_curves(comparison, name, sizes, methods, ax=ax)
        ax.set_xlabel("labels")
    return axes


def complete(comparison, least=0.9, datasets=None, methods=None, seeds=0.5):
    """Selects data sets and methods with complete runs.

    Starts from data sets with enough seeds. Drops methods that were run on less than a
    share of them, then data sets that lack one of the remaining methods. A single seed
    does not count as a run.

    Args:
        comparison: `Comparison`.
        least: Float, the minimum share of data sets.
        datasets, methods: Names to choose from. Defaults to `None`: all.
        seeds: Float, the minimum share of the maximum number of seeds.
    """
    runs = comparison.to_dataframe()
    if methods is not None:
        runs = runs[runs["method"].isin(methods)]
    if datasets is not None:
        runs = runs[runs["dataset"].isin(datasets)]
    counts = runs.groupby(["dataset", "method"], sort=False)["seed"].nunique()
    counts = counts.unstack()
    fewest = max(2, seeds * counts[BASELINE].max())
    done = counts[counts[BASELINE] >= fewest] >= 2
    methods = done.columns[done.mean() >= least]
    datasets = done.index[done[methods].all(axis=1)]
    chosen = runs["method"].isin(methods) & runs["dataset"].isin(datasets)
    return Comparison(
        runs[chosen].drop(columns="setting"),
        comparison.metric,
        chosen_by=comparison.chosen_by,
    )


def at_better_rates(path):
    """Yields pairs of what is predicted and the mean change by latent mixing on
    validation samples, in points, with the better of two learning rates for each."""
    table = pd.read_csv(path)
    for title, (metric, names) in OTHER_TARGETS.items():
        scores = table[table["dataset"].isin(names)].pivot(
            index=["dataset", "seed"], columns="method", values=f"validation_{metric}"
        )
        ours, plain = (
            scores[[method, f"{method}, rate 2"]].max(axis=1)
            for method in ("latent mixing", BASELINE)
        )
        yield title, 100 * (ours - plain).groupby("dataset").mean().mean()


def rare_classes(path):
    """Returns the `Comparison` of the study `imbalance`."""
    return read(path, "balanced_accuracy", seeds=0.3)


def few_labels(path, *methods, size=0):
    """Returns a `Comparison` at the smallest numbers of labels, or a larger `size`: the
    defaults with and without unlabeled samples, the choice by validation between these
    and the plain model, and other methods."""
    own = [BASELINE, "latent mixing", CONSISTENT]
    comparison = stored.read(path, "accuracy").with_choice(CHOSEN, own)
    return complete(
        comparison, 0.6, FEW_LABELS[size], [*own, CHOSEN, *methods], seeds=0.2
    )


def _without_best(summary, method):
    """The mean change of a method without the data set with the best change."""
    changes = summary.xs(method, level="method")["change"]
    rest = changes.drop(changes.idxmax())
    return f"{rest.mean():+z.2f}" if len(rest) else ""


def table(comparison):
    """Returns a Markdown table with methods in rows and data sets in columns.

    Each cell has the change from "none" and its standard error, with `*` if it is
    significant after correction. The row of "none" has its mean and number of runs.
    `without best` is the mean without the data set with the best change.
    """
    summary = comparison.summary()
    means = comparison.mean_changes().sort_values("change", ascending=False)
    datasets = _datasets(comparison.runs)
    levels = [_level(summary.loc[(name, BASELINE)]) for name in datasets]
    head = ("method", "mean", "worst", "without best")
    rows = [
        (*head, *datasets),
        ("---",) * (len(head) + len(datasets)),
        (BASELINE, "", "", "", *levels),
    ]
    partial = [m for m in summary.index.unique("method") if m not in means.index]
    for method in [*means.index, *partial]:
        if method == BASELINE:
            continue
        cells = [
            _change(summary.loc[(name, method)])
            if (name, method) in summary.index
            else ""
            for name in datasets
        ]
        of_all = ("", "", "")
        if method in means.index:
            row, rest = means.loc[method], _without_best(summary, method)
            of_all = (_change(row), f"{row['worst']:+z.1f}", rest)
        rows.append((method, *of_all, *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def brief(path, metric, **selected):
    """Returns a Markdown table with methods in rows.

    Columns are the minimum number of seeds on a data set; the mean change from "none"
    and its standard error, for the metric that chooses settings and for others; for the
    first metric, the change on the worst data set, the mean without the best one, and
    the mean change from the best alternative.
    """
    metrics = (metric, *ALSO.get(metric, ()))
    comparisons = [read(path, each, metric, **selected) for each in metrics]
    means = [comparison.mean_changes() for comparison in comparisons]
    summary = comparisons[0].summary()
    names = [each.replace("_", " ") for each in metrics]
    rows = [["method", "seeds", names[0], "worst", "without best", *names[1:]]]
    for method, row in means[0].sort_values("change", ascending=False).iterrows():
        cells = [_change(table.loc[method]) for table in means]
        worst, rest = f"{row['worst']:+z.1f}", _without_best(summary, method)
        rows.append([method, f"{row['runs']:.0f}", cells[0], worst, rest, *cells[1:]])
    if RIVAL in means[0].index:
        changes = comparisons[0].mean_changes(baseline=RIVAL)
        rows[0].append(f"{names[0]}, from {RIVAL}")
        for cells in rows[1:]:
            rival = cells[0] == RIVAL
            cells.append("" if rival else _change(changes.loc[cells[0]]))
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _level(row):
    return f"{row['mean']:.2f} (n={row['runs']:.0f})"


def _change(row):
    star = "*" if row["corrected_p"] < 0.05 else ""
    return f"{row['change']:+z.2f} ({row['standard_error']:.2f}){star}"
