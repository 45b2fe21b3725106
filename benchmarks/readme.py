"""Writes the README's numbers and plot from the files of results. Also formats the text
about the results on other pages.

    python -m benchmarks.readme

The numbers follow the comment `<!-- numbers -->`.
"""

import pathlib
import re
import textwrap
from collections import defaultdict
from functools import partial

from benchmarks.accuracy import report
from benchmarks.accuracy.studies import STUDIES

ROOT = pathlib.Path(__file__).parents[1]
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
ENCODERS = {
    "mlp": "MLP, 2 layers of 128",
    "bilstm": "BiLSTM of 64",
    "cnn": "CNN of 3 layers",
}
#: Results of an earlier edition, with other defaults. Its methods had these names.
RESULTS = ROOT / "benchmarks/accuracy/earlier/results.csv"
IMBALANCE = ROOT / "benchmarks/accuracy/earlier/imbalance.csv"


#: Results of current methods: the study `tuning` for classes, `targets` for the others.
RECENT = [ROOT / f"benchmarks/accuracy/{name}.csv" for name in ("tuning", "targets")]
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
    """A change in points, as text with its standard error. If the table has them, also
    the level itself (`mean`, in percent) and the change on the worst data set."""

    def __init__(self, row):
        self.short = f"{row['change']:+z.1f}"
        self.text = f"{self.short} ({row['standard_error']:.1f})"
        if "mean" in row:
            self.mean = f"{row['mean']:.1f}"
        if "worst" in row:
            self.worst = f"{row['worst']:+z.1f}"
        self.p = f"{row['corrected_p']:.3f}"
        self.seeds = f"{row['runs']:.0f}"

    def __str__(self):
        return self.text


def _changes(table):
    return {name: Change(row) for name, row in table.iterrows()}


class _Over(dict):
    """Baseline to the mean changes from it, by method."""

    def __init__(self, comparison):
        self.comparison = comparison

    def __missing__(self, baseline):
        self[baseline] = _changes(self.comparison.mean_changes(baseline))
        return self[baseline]


def expectations():
    """Returns what to expect, as bullets of text.

    In the text, `main` has mean changes over the data sets of the table. `parts` has
    those of other methods, too, and `every` includes token texts. `on` has changes on
    one data set, and `rare` mean changes over imbalanced data sets. `over`, `rare_over`
    and, for added seeds, `later_over` have changes from other methods than "none".
    """
    results = report.read(RESULTS)
    main = report.complete(results, report.MAIN, methods=report.SHOWN)
    rare = report.whole(report.read(IMBALANCE, "balanced_accuracy"))
    later = report.added(rare)
    on = defaultdict(dict)
    for (dataset, method), row in results.summary().iterrows():
        on[dataset][method] = Change(row)
    text = (ROOT / "benchmarks/expectations.md").read_text()
    text = text.format(
        main=_changes(main.mean_changes()),
        parts=_changes(report.complete(results, report.MAIN).mean_changes()),
        every=_changes(report.complete(results).mean_changes()),
        over=_Over(main),
        on=on,
        rare=_changes(rare.mean_changes()),
        rare_over=_Over(rare),
        later_over=_Over(later),
    )
    bullets = [" ".join(words.split()) for words in re.split("^- ", text, flags=re.M)]
    return [_fill(bullet) for bullet in bullets[1:]]


def numbers():
    """Returns bullets on what latent mixing changes, by what is predicted."""
    means = {
        title: _changes(each.mean_changes()) for title, each in report.by_kind(*RECENT)
    }
    classes, values, labels, words, pixels = means.values()
    ours, rate, default = "latent mixing, rate 2", "none, rate 2", "latent mixing"
    few = report.few_labels(UNLABELED)
    datasets = few.runs["dataset"].nunique()
    few = _changes(few.mean_changes())
    both = few[report.CONSISTENT]
    bullets = [
        f"**Few labels and many unlabeled samples**: {both.short} over {datasets} data "
        f"sets, on the worst {both.worst}; {few[default].short} without the unlabeled "
        "samples.",
        f"**Words and frames**: {words[ours].short} at twice the learning rate, and "
        f"{words[rate].short} by that rate alone.",
        f"**Several labels at once**: {labels[ours].short}, and "
        f"{labels[rate].short} by that rate alone.",
        f"**Classes**: {classes[default].short} at the rate of the plain model, on the "
        f"worst of {len(STUDIES['tuning'].datasets)} data sets and encoders "
        f"{classes[default].worst}; {classes[ours].short} at twice the rate, and "
        f"{classes[rate].short} by that rate alone.",
        f"**Numbers** and **pixels**: {values[ours].short} and {pixels[ours].short}, "
        f"and {values[rate].short} and {pixels[rate].short} by that rate alone: no "
        "gain.",
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
