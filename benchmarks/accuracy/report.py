"""What the results say: tables in Markdown, and pictures."""

import pathlib

import matplotlib.pyplot as plt

from keras_modals.evaluation import Comparison
from keras_modals.evaluation.comparison import BASELINE
from keras_modals.plots import plot_comparison, plot_learning_curves

ALSO = ("log_loss", "calibration_error")
#: Means are over the data sets to which as good as every method applies, and over those
#: to which all do: inputs that are tokens cannot be mixed or blurred.
SHARES = (0.9, 0.6)


def print_report(path, metric, pictures=None):
    everything = Comparison.read(path, metric)
    runs = everything.runs
    # Parts of a training set have their own picture.
    whole = runs[~runs["dataset"].str.contains(":")]
    print(table(Comparison(whole, metric)))
    metrics = [metric, *(m for m in ALSO if m != metric)]
    groups = {}
    for least in SHARES:
        comparison = complete(everything, least)
        groups.setdefault(tuple(_datasets(comparison.runs)), least)
    for names, least in groups.items():
        print(f"\nMeans over {len(names)} data sets, {', '.join(names)}:\n")
        print(brief(path, metrics, least))
    if pictures is not None:
        pictures = pathlib.Path(pictures)
        pictures.mkdir(parents=True, exist_ok=True)
        ax = plot_comparison(comparison)
        _save(ax, pictures / f"{metric}.png")
        for name in _datasets(runs[runs["dataset"].str.contains(":")]):
            _plot_curves(everything, name.partition(":")[0], pictures)


def _save(ax, path):
    ax.figure.savefig(path, dpi=150)
    plt.close(ax.figure)


def _datasets(runs):
    return list(dict.fromkeys(runs["dataset"]))


def _plot_curves(comparison, base, pictures):
    from benchmarks import data

    full = data.LOADERS[base][1][2]
    names = [n for n in _datasets(comparison.runs) if n.partition(":")[0] == base]
    sizes = {round(float(n.partition(":")[2] or 1) * full): n for n in names}
    table = comparison.summary()
    methods = [
        method
        for method in table.index.unique("method")
        if all((name, method) in table.index for name in names)
    ]
    ax = plot_learning_curves(comparison, base, sizes, methods)
    _save(ax, pictures / f"{base}_{comparison.metric}_by_size.png")


def complete(comparison, least=SHARES[0]):
    """Without parts of training sets, without the methods that were run on less than a
    share of the data sets, then without the data sets that lack one of the others. One
    seed does not count."""
    runs = comparison.to_dataframe()
    runs = runs[~runs["dataset"].str.contains(":")]
    seeds = runs.groupby(["dataset", "method"], sort=False)["seed"].nunique()
    done = seeds.unstack() >= 2
    done = done[done[BASELINE]]
    methods = done.columns[done.mean() >= least]
    datasets = done.index[done[methods].all(axis=1)]
    chosen = runs["method"].isin(methods) & runs["dataset"].isin(datasets)
    return Comparison(runs[chosen].drop(columns="setting"), comparison.metric)


def table(comparison):
    """Markdown, methods in rows, data sets in columns: change from none (standard
    error), `*` where it stays after correction; none's own mean and number of runs."""
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
            mean, worst = _change(row), f"{row['worst']:+.1f}"
        rows.append((method, mean, worst, *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def brief(path, metrics, least=SHARES[0]):
    """Markdown, methods in rows: the mean change from none (standard error) of each
    metric, and the worst data set's of the first. A setting is chosen by the metric
    that is shown."""
    means = [complete(Comparison.read(path, m), least).mean_changes() for m in metrics]
    names = [metric.replace("_", " ") for metric in metrics]
    rows = [
        ("method", names[0], "worst", *names[1:]),
        ("---",) * (len(metrics) + 2),
    ]
    first = means[0].sort_values("change", ascending=False)
    for method, row in first.iterrows():
        cells = [_change(table.loc[method]) for table in means]
        cells.insert(1, f"{row['worst']:+.1f}")
        rows.append((method, *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _level(row):
    return f"{row['mean']:.2f} (n={row['runs']:.0f})"


def _change(row):
    star = "*" if row["corrected_p"] < 0.05 else ""
    return f"{row['change']:+.2f} ({row['standard_error']:.2f}){star}"
