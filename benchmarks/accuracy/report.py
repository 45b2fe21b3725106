"""What the results say: tables in Markdown, and pictures."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from benchmarks.accuracy import stored
from benchmarks.accuracy.studies import OTHER_TARGETS, STUDIES
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals.evaluation import Comparison
from keras_modals.plots import plot_comparison, plot_learning_curves

#: Beside what settings are chosen by.
ALSO = {
    "accuracy": ("log_loss", "calibration_error"),
    "balanced_accuracy": ("macro_f1", "log_loss"),
}
#: Shares of the data sets on which a method must have been run to be in the means:
#: with all data sets; with the methods that tokens rule out; with all that was run.
SHARES = (0.9, 0.8, 0.7)
#: Of `SHARES`, that of the picture.
MAIN = SHARES[1]

#: What all kinds of targets were trained with, as pictures have them.
_OF_ALL_KINDS = {
    "latent mixing, rate 2": ("latent mixing, twice the learning rate", "#0072B2"),
    "mixup": ("mixup, its rate chosen by validation", "#E69F00"),
    "none, rate 2": ("twice the learning rate alone", "#555555"),
}

#: What this package adds to the alternatives that are best known.
OURS = (
    "latent mixing",
    "latent mixing tuned",
    "latent mixing, class weights",
    "latent mixing, oversampling",
    # Those of an earlier edition.
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
#: Of the alternatives, and of all, that which is best on validation samples.
RIVAL, BEST = "best of the others", "best of all"
#: What a user could choose, beside the paper's; the evidence page has all that was run.
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
    """The runs in a file, and where the defaults are among them, what choosing among
    methods by validation gains."""
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
        print("\nOf these, by which no default was chosen:\n")
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
    """Triples of what is predicted, a metric and a `table` of the data sets."""
    for title, comparison in _of_targets(path):
        ran = set(comparison.runs["method"].str.partition("(")[0])
        ours = {name for name in ran if name.startswith("latent mixing")}
        with_rival = comparison.with_choice(RIVAL, ran - ours)
        yield title, comparison.metric, table(with_rival.with_choice(BEST, ran))


def context(path, networks):
    """Markdown, data sets in rows: mean test accuracy in points of the plain network,
    of that which validation chose, and of what is no network; the best in bold.

    Args:
        path: File of `benchmarks.accuracy.context`.
        networks: `Comparison` of networks, with what validation chose.
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
    """Pairs of what is predicted and a `Comparison`: of classes, in the file of the
    study `tuning`, and of the other kinds, in that of `targets`."""
    yield "Classes", stored.read(tuning, "accuracy")
    yield from _of_targets(targets)


def plot_kinds(tuning, targets):
    """Mean changes by what is predicted, of the methods that all kinds have."""
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
    """Small training sets, each whole and with its usual number of epochs."""
    return _of(comparison, lambda names: ~names.str.contains("[:@]|_full$"))


def smaller(comparison, longer=False):
    """Shares of training sets, with their usual number of epochs or with more."""
    shares = ":.*@" if longer else ":[^@]*$"
    part = _single(_of(comparison, lambda names: names.str.contains(shares)))
    runs = part.runs.sort_values("dataset", kind="stable")
    return Comparison(runs, part.metric, chosen_by=part.chosen_by)


def larger(comparison):
    """Training sets that are not small."""
    return _single(_of(comparison, lambda names: names.str.endswith("_full")))


def longer(comparison):
    """Trainings of more epochs, on whole training sets."""
    return _single(_of(comparison, lambda names: names.str.contains("^[^:]*@")))


def added(comparison, first=3):
    """Seeds that were added after a look at the first ones."""
    return _of(comparison, lambda seeds: seeds >= first, "seed")


def unseen(comparison):
    """Names of the data sets that the study `tuning` did not look at."""
    tuning = STUDIES["tuning"].datasets
    return [name for name in _datasets(whole(comparison).runs) if name not in tuning]


def _of(comparison, chosen, column="dataset"):
    runs = comparison.runs
    return Comparison(
        runs[chosen(runs[column])], comparison.metric, chosen_by=comparison.chosen_by
    )


def _single(comparison):
    """Without choices among methods, of which too few were run."""
    choices = f"{RIVAL}|{BEST}"
    return _of(comparison, lambda names: ~names.str.match(choices), "method")


def means(path, metric, datasets=None):
    """Pairs of data sets and `brief` of them, for each of `SHARES`."""
    pairs = {}
    for least in SHARES:
        comparison = complete(read(path, metric), least, datasets)
        names = tuple(_datasets(comparison.runs))
        pairs.setdefault(names, brief(path, metric, least, datasets))
    return pairs.items()


def save(ax, path):
    """Draws a picture into a file."""
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def _datasets(runs):
    return list(dict.fromkeys(runs["dataset"]))


def plot_curves(comparison, base):
    """Learning curves of a data set, of what was run with every size and the usual
    number of epochs."""
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
    """Whole training sets (or some of them) with at least half as many seeds as any,
    without the methods (of all, or of some) that were run on less than a share of them,
    then without the data sets that lack one of the others. One seed does not count."""
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


def table(comparison, with_means=True):
    """Markdown, methods in rows, data sets in columns: change from none (standard
    error), `*` where it stays after correction; none's own mean and number of runs;
    means over the data sets, which say little where these are shares of the same."""
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
    """Markdown, methods in rows: the fewest seeds on a data set; the mean change from
    none (standard error) of a metric, by which settings are chosen, and of others; the
    worst data set's of the first; and of the first, the mean change from the best of
    the alternatives."""
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
