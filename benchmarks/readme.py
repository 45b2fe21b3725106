"""Writes the README's tables from the files of results.

    python -m benchmarks.readme

Each stands after a comment with its name, as `<!-- accuracy -->`.
"""

import pathlib
import re

from benchmarks.accuracy import report

ROOT = pathlib.Path(__file__).parents[1]
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
ENCODERS = {
    "mlp": "MLP, 2 layers of 128",
    "bilstm": "BiLSTM of 64",
    "cnn": "CNN of 3 layers",
}
#: Of what was run, what a user could choose; the parts are on the evidence page.
SHOWN = (
    "best of all",
    "best of the others",
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
)


def accuracy():
    path = ROOT / "benchmarks/accuracy/results.csv"
    head, rule, *rows = report.brief(path, "accuracy", report.MAIN).splitlines()
    return [head, rule, *(row for row in rows if row.split(" | ")[0][2:] in SHOWN)]


def steps():
    """Time over that of the plain model: with the defaults, with everything."""
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


TABLES = {"accuracy": accuracy, "steps": steps}


def with_tables(text):
    """The README, with its tables as the results are now."""
    for name, table in TABLES.items():
        marker = f"<!-- {name} -->\n"
        before, rest = text.split(marker)
        _, after = rest.split("\n\n", 1)
        text = "".join([before, marker, "\n".join(table()), "\n\n", after])
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text()))
