"""Reports results as Markdown tables and plots."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.accuracy import stored
from benchmarks.accuracy.studies import FEW_LABELS, OTHER_TARGETS, STUDIES
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals.evaluation import Comparison
from keras_modals.plots import plot_comparison, plot_learning_curves

#: Metrics to report in addition to the one that chooses settings.
ALSO = {
    "accuracy": ("log_loss", "calibration_error"),
    "balanced_accuracy": ("macro_f1", "log_loss"),
}
#: Minimum shares of the data sets on which a method was run to be in the means. The
#: first keeps all data sets, the second adds the methods that do not apply to tokens,
#: and the third adds everything that was run.
SHARES = (0.9, 0.8, 0.7)
#: The entry of `SHARES` for the plot.
MAIN = SHARES[1]

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
    # From an earlier edition.
    "MODALS",
    "MODALS tuned",
    "one-run search",
    "MODALS, class weights",
    "MODALS, oversampling",
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
)
#: The method that is best on validation samples, among the alternatives and among all.
RIVAL, BEST = "best of the others", "best of all"
#: The defaults with unlabeled samples.
CONSISTENT = "consistency of 1, threshold 0.8"
#: Methods that a user could choose, and the paper's. The evidence page has all methods.
SHOWN = (
    "none",
    BEST,
    RIVAL,
    "latent mixing",
    "latent mixing tuned",
    "MODALS",
    "MODALS tuned",
    "one-run search",
    "population search",
    "mixup",
    "manifold mixup",
    "label smoothing",
    "dropout",
    "input noise",
    "triplet",
    "difference transform",
    "paper's policy",
    "paper's method",
)


def read(path, metric="accuracy", chosen_by=None):
    """Returns the `Comparison` in a file. If it includes the defaults, adds the choice
    among methods by validation."""
    comparison = stored.read(path, metric, chosen_by)
    if not comparison.runs["method"].isin(["latent mixing", "MODALS"]).any():
        return comparison
    ran = set(comparison.runs["method"].str.partition("(")[0])
    others = [method for method in OTHERS if method in ran]
    ours = [method for method in OURS if method in ran]
    comparison = comparison.with_choice(RIVAL, others)
    return comparison.with_choice(BEST, [*ours, *others])


def print_report(path, metric, pictures=None):
    everything = read(path, metric)
    print(table(whole(everything)))
    for names, text in means(path, metric):
        print(f"\nMeans over {len(names)} data sets, {', '.join(names)}:\n\n{text}")
    others = unseen(everything)
    if 0 < len(others) < len(_datasets(whole(everything).runs)):
        print("\nData sets by which no default was chosen:\n")
        print(brief(path, metric, MAIN, others))
    for title, part in (
        ("Fewer training samples", smaller(everything)),
        ("Fewer training samples, trained longer", smaller(everything, longer=True)),
        ("Trained longer", longer(everything)),
        ("Large training sets", larger(everything)),
    ):
        if part.runs.size:
            print(f"\n{title}:\n\n{table(part, with_means=False)}")
    if pictures is not None:
        pictures = pathlib.Path(pictures)
        pictures.mkdir(parents=True, exist_ok=True)
        ax = plot_comparison(complete(everything, MAIN, methods=SHOWN))
        save(ax, pictures / f"{metric}.png")
        names = _datasets(smaller(everything).runs)
        for base in dict.fromkeys(name.partition(":")[0] for name in names):
            ax = plot_curves(stored.read(path, metric), base)
            file = f"{base}_{metric}_by_size.png".replace("/", "_")
            save(ax, pictures / file)


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
    alternatives to networks. The best is in bold.

    Args:
        path: Path of the file from `benchmarks.accuracy.context`.
        networks: `Comparison` of networks, with the choice by validation.
    """
    others = stored.read(path, "accuracy")
    tables = [each.summary()["mean"].unstack("method") for each in (networks, others)]
    shown = tables[0].reindex(tables[1].index)[[BASELINE, BEST]].join(tables[1])
    rows = [("data set", *shown.columns), ("---",) * (len(shown.columns) + 1)]
    for name, means in shown.iterrows():
        cells = ["" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
        best = np.nanargmax(means)
        cells[best] = f"**{cells[best]}**"
        rows.append((name, *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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


def whole(comparison):
    """Selects small training sets, each whole and with its usual number of epochs."""
    return _of(comparison, lambda names: ~names.str.contains("[:@]|_full$"))


def smaller(comparison, longer=False):
    """Selects shares of training sets, with the usual number of epochs or more."""
    shares = ":.*@" if longer else ":[^@]*$"
    part = _single(_of(comparison, lambda names: names.str.contains(shares)))
    runs = part.runs.sort_values("dataset", kind="stable")
    return Comparison(runs, part.metric, chosen_by=part.chosen_by)


def larger(comparison):
    """Selects training sets that are not small."""
    return _single(_of(comparison, lambda names: names.str.endswith("_full")))


def longer(comparison):
    """Selects whole training sets with more epochs."""
    return _single(_of(comparison, lambda names: names.str.contains("^[^:]*@")))


def added(comparison, first=3):
    """Selects seeds that were added after looking at the first ones."""
    return _of(comparison, lambda seeds: seeds >= first, "seed")


def unseen(comparison):
    """Returns the names of data sets that the study `tuning` did not use."""
    tuning = STUDIES["tuning"].datasets
    return [name for name in _datasets(whole(comparison).runs) if name not in tuning]


def _of(comparison, chosen, column="dataset"):
    runs = comparison.runs
    return Comparison(
        runs[chosen(runs[column])], comparison.metric, chosen_by=comparison.chosen_by
    )


def _single(comparison):
    """Drops choices among methods, since too few methods were run."""
    choices = f"{RIVAL}|{BEST}"
    return _of(comparison, lambda names: ~names.str.match(choices), "method")


def means(path, metric, datasets=None):
    """Returns pairs of data sets and their `brief` table, for each of `SHARES`."""
    pairs = {}
    for least in SHARES:
        comparison = complete(read(path, metric), least, datasets)
        names = tuple(_datasets(comparison.runs))
        pairs.setdefault(names, brief(path, metric, least, datasets))
    return pairs.items()


def save(ax, path):
    """Saves a plot to a file."""
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def _datasets(runs):
    return list(dict.fromkeys(runs["dataset"]))


def plot_curves(comparison, base):
    """Plots learning curves of a data set, for methods that were run with every size
    and the usual number of epochs."""
    from benchmarks import data

    full = data.LOADERS[base.partition("/")[0]][1][1]
    names = [
        name
        for name in _datasets(comparison.runs)
        if name.partition(":")[0] == base and "@" not in name
    ]
    sizes = {round(float(n.partition(":")[2] or 1) * full): n for n in names}
    table = comparison.summary()
    methods = [
        method
        for method in table.index.unique("method")
        if all((name, method) in table.index for name in names)
    ]
    return plot_learning_curves(comparison, base, sizes, methods)


def complete(comparison, least=SHARES[0], datasets=None, methods=None):
    """Selects data sets and methods with complete runs.

    Starts from whole training sets with at least half of the maximum number of seeds.
    Drops methods that were run on less than a share of them, then data sets that lack
    one of the remaining methods. A single seed does not count as a run.

    Args:
        comparison: `Comparison`.
        least: Float, the minimum share of data sets.
        datasets, methods: Names to choose from. Defaults to `None`: all.
    """
    runs = whole(comparison).to_dataframe()
    if methods is not None:
        runs = runs[runs["method"].isin(methods)]
    if datasets is not None:
        runs = runs[runs["dataset"].isin(datasets)]
    seeds = runs.groupby(["dataset", "method"], sort=False)["seed"].nunique()
    seeds = seeds.unstack()
    done = seeds[seeds[BASELINE] >= max(2, seeds[BASELINE].max() / 2)] >= 2
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


def few_labels(path, *methods, size=0):
    """Returns a `Comparison` at the smallest numbers of labels, or a larger `size`: the
    defaults with and without unlabeled samples, and other methods."""
    methods = [BASELINE, "latent mixing", CONSISTENT, *methods]
    return complete(stored.read(path, "accuracy"), 0.6, FEW_LABELS[size], methods)


def table(comparison, with_means=True):
    """Returns a Markdown table with methods in rows and data sets in columns.

    Each cell has the change from "none" and its standard error, with `*` if it is
    significant after correction. The row of "none" has its mean and number of runs.
    Means over data sets say little if these are shares of the same data set.
    """
    summary = comparison.summary()
    means = comparison.mean_changes().sort_values("change", ascending=False)
    datasets = _datasets(comparison.runs)
    levels = [_level(summary.loc[(name, BASELINE)]) for name in datasets]
    rows = [
        ("method", "mean", "worst", *datasets),
        ("---",) * (len(datasets) + 3),
        (BASELINE, "", "", *levels),
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
        mean, worst = "", ""
        if method in means.index:
            row = means.loc[method]
            mean, worst = _change(row), f"{row['worst']:+z.1f}"
        rows.append((method, mean, worst, *cells))
    if not with_means:
        rows = [(method, *cells) for method, _, _, *cells in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def brief(path, metric, least=SHARES[0], datasets=None, methods=None):
    """Returns a Markdown table with methods in rows.

    Columns are the minimum number of seeds on a data set; the mean change from "none"
    and its standard error, for the metric that chooses settings and for others; the
    change on the worst data set, for the first metric; and the mean change from the
    best alternative, for the first metric.
    """
    metrics = (metric, *ALSO.get(metric, ()))
    comparisons = [
        complete(read(path, each, metric), least, datasets, methods) for each in metrics
    ]
    means = [comparison.mean_changes() for comparison in comparisons]
    names = [each.replace("_", " ") for each in metrics]
    rows = [["method", "seeds", names[0], "worst", *names[1:]]]
    for method, row in means[0].sort_values("change", ascending=False).iterrows():
        cells = [_change(table.loc[method]) for table in means]
        seeds = f"{row['runs']:.0f}"
        rows.append([method, seeds, cells[0], f"{row['worst']:+z.1f}", *cells[1:]])
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
