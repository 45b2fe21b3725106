"""Writes the README's numbers and plot from the files of results. Also formats the text
about the results on other pages.

    python -m benchmarks.readme

The numbers follow the comment `<!-- numbers -->`.
"""

import pathlib
import re
import textwrap
from functools import partial

from benchmarks.accuracy import report

ROOT = pathlib.Path(__file__).parents[1]
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
ENCODERS = {
    "mlp": "MLP, 2 layers of 128",
    "bilstm": "BiLSTM of 64",
    "cnn": "CNN of 3 layers",
}
#: What the plot shows: the study `tuning` for classes, `targets` for the others.
RECENT = [ROOT / f"benchmarks/accuracy/{name}.csv" for name in ("tuning", "targets")]
RESULTS = ROOT / "benchmarks/accuracy/results.csv"
RARE = ROOT / "benchmarks/accuracy/imbalance.csv"
UNLABELED = ROOT / "benchmarks/accuracy/unlabeled.csv"
MARKER = "<!-- numbers -->\n"

#: Formats a bullet of a Markdown list.
_fill = partial(
    textwrap.fill,
    width=88,
    initial_indent="- ",
    subsequent_indent="  ",
    break_long_words=False,
    break_on_hyphens=False,
)


def steps():
    """Returns a table of times relative to the plain model, with the defaults and with
    everything."""
    rows = ["| encoder |", "| --- |"]
    rows += [f"| {encoder} |" for encoder in ENCODERS.values()]
    for backend, title in BACKENDS.items():
        table = (ROOT / f"benchmarks/speed/{backend}.md").read_text()
        cells = [title, "---"]
        for name in ENCODERS:
            (row,) = re.findall(rf"\| {name}, step over plain \| (.*) \|", table)
            found = dict(part.rsplit(" ", 1) for part in row.split(", "))
            cells.append(f"{found['augmentation']}, {found['+ discriminator']}")
        rows = [f"{row} {cell} |" for row, cell in zip(rows, cells, strict=True)]
    return rows


class Change:
    """A change in points, as text, and the one on the worst data set."""

    def __init__(self, row):
        self.short = f"{row['change']:+z.1f}"
        self.worst = f"{row['worst']:+z.1f}"


def _changes(comparison):
    means = comparison.mean_changes()
    return {name: Change(row) for name, row in means.iterrows()}


def numbers():
    """Returns bullets on what latent mixing changes, by what is predicted."""
    kinds = [_changes(each) for _, each in report.by_kind(*RECENT)]
    _, _, labels, words, _ = kinds
    ours, rate, default = "latent mixing, rate 2", "none, rate 2", "latent mixing"
    results = report.read(RESULTS, seeds=0.2)
    classes, many = _changes(results), results.runs["dataset"].nunique()
    few = report.few_labels(UNLABELED)
    datasets, few = few.runs["dataset"].nunique(), _changes(few)
    both, chosen = few[report.CONSISTENT], few[report.CHOSEN]
    rare, oversampled = _changes(report.rare_classes(RARE)), f"{default}, oversampling"
    bullets = [
        f"**Few labels and many unlabeled samples**: {both.short} over {datasets} data "
        f"sets, on the worst {both.worst}; {few[default].short} without the unlabeled "
        f"samples; {chosen.short} and {chosen.worst} where 100 validation samples "
        "choose between these and the plain model.",
        "**Several labels at once** (average precision), and **a label for each word "
        f"or frame** (macro F1): {labels[ours].short} and {words[ours].short} at twice "
        f"the learning rate; {labels[rate].short} and {words[rate].short} by that rate "
        "alone.",
        f"**Rare classes** (balanced accuracy): {rare[oversampled].short} with "
        f"oversampling, {rare['oversampling'].short} by oversampling alone; "
        f"{rare[default].short} without it.",
        f"**Classes**: {classes[default].short} over {many} data sets, on the worst "
        f"{classes[default].worst}; {classes[report.RIVAL].short} by choosing among "
        f"other methods on validation samples, and {classes[report.BEST].short} with "
        "latent mixing among them.",
    ]
    return [_fill(bullet) for bullet in bullets]


def with_results(text):
    """Returns the README with the numbers of the current results."""
    before, rest = text.split(MARKER)
    _, after = rest.split("\n\n", 1)
    return "".join([before, MARKER, "\n".join(numbers()), "\n\n", after])


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_results(readme.read_text()))
    report.save(report.plot_kinds(*RECENT), ROOT / "benchmarks/accuracy/kinds.png")
