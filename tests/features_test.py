"""The table of features by backend claims what the tests cover."""

import importlib
import pathlib

import pytest
from portable import BACKEND

COLUMNS = ("tensorflow", "jax", "torch")
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "backends.md"

#: The test file that starts a process for every backend on its own.
COMPARES_BACKENDS = "backends_test"


def table():
    text = PAGE.read_text().split("<!-- features -->")[1]
    lines = text.strip().split("\n\n")[0].splitlines()
    header, _, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    assert [name.lower() for name in header[1:4]] == ["tensorflow", "jax", "pytorch"]
    return [(row[0], dict(zip(COLUMNS, row[1:4])), row[4].strip("`")) for row in rows]


def marks_of(module, name):
    marks = getattr(module, "pytestmark", [])
    marks = marks if isinstance(marks, list) else [marks]
    return marks + getattr(getattr(module, name), "pytestmark", [])


@pytest.mark.backend
@pytest.mark.parametrize(("feature", "claims", "test"), table())
def test_claims(feature, claims, test):
    file, name = test.split("::")
    module = importlib.import_module(file.removesuffix(".py"))
    marks = marks_of(module, name)
    runs = module.__name__ == COMPARES_BACKENDS or any(
        mark.name == "backend" for mark in marks
    )
    skipped = module.__name__ != COMPARES_BACKENDS and any(
        mark.name == "skipif" and mark.args[0] for mark in marks
    )
    assert claims[BACKEND] == ("yes" if runs and not skipped else "no"), feature
