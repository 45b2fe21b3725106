"""What the results say: tables in Markdown, and pictures."""

import pathlib

import matplotlib.pyplot as plt

from keras_modals.evaluation import Comparison
from keras_modals.evaluation.comparison import BASELINE
from keras_modals.plots import plot_comparison, plot_learning_curves


def print_report(path, metric, pictures=None):
    everything = Comparison.read(path, metric)
    runs = everything.runs
    # Parts of a training set have their own picture.
    whole = runs[~runs["dataset"].str.contains(":")]
    comparison = Comparison(whole, metric)
    print_table(comparison)
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


def print_table(comparison):
    """Methods in rows, data sets in columns: change from none (standard error), `*`
    where it stays after correction; none's own mean and number of runs."""
    table = comparison.summary()
    means = comparison.mean_changes().sort_values("change", ascending=False)
    datasets = _datasets(comparison.runs)
    print("| method | mean | worst | " + " | ".join(datasets) + " |")
    print("|---" * (len(datasets) + 3) + "|")
    levels = [_level(table.loc[(name, BASELINE)]) for name in datasets]
    print(f"| {BASELINE} | | | " + " | ".join(levels) + " |")
    partial = [m for m in table.index.unique("method") if m not in means.index]
    for method in [*means.index, *partial]:
        if method == BASELINE:
            continue
        cells = [
            _change(table.loc[(name, method)]) if (name, method) in table.index else ""
            for name in datasets
        ]
        summary = " | "
        if method in means.index:
            row = means.loc[method]
            summary = f"{_change(row)} | {row['worst']:+.1f}"
        print(f"| {method} | {summary} | " + " | ".join(cells) + " |")


def _level(row):
    return f"{row['mean']:.2f} (n={row['runs']:.0f})"


def _change(row):
    star = "*" if row["corrected_p"] < 0.05 else ""
    return f"{row['change']:+.2f} ({row['standard_error']:.2f}){star}"
