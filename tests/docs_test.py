"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_modals
from keras_modals._src.evaluation.compare import DEFAULT_METHODS

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
BACKENDS = {"jax", "tensorflow", "torch"}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_modals.__path__, "keras_modals.")
    # Skip files of other backends, which may not be installed.
    if module.name.split(".")[-1] not in BACKENDS - {keras.backend.backend()}
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    names = {"keras": keras, "np": np, "keras_modals": keras_modals}
    result = doctest.testmod(module, extraglobs=names)
    assert result.failed == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_are_right(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.filterwarnings("ignore")
def test_the_code_of_the_readme_runs_in_sequence(capsys):
    code = "\n".join(
        re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    )
    # Run fewer and shorter trainings.
    for long, short in {
        "epochs=200": "epochs=2",
        "seeds=3, epochs=50": "seeds=1, epochs=1",
    }.items():
        assert long in code
        code = code.replace(long, short)
    exec(code, {})
    plain, augmented, *rest = capsys.readouterr().out.splitlines()
    for line, name in ((plain, "plain"), (augmented, "augmented")):
        assert line.split()[0] == name
        assert 0.0 < float(line.split()[1]) < 1.0
    assert any(line.startswith("data: test accuracy") for line in rest)


def test_every_public_name_has_an_example_or_is_a_value():
    for name in keras_modals.__all__:
        value = getattr(keras_modals, name)
        if isinstance(value, type) or callable(value):
            assert ">>>" in value.__doc__, name


def test_the_page_of_compare_has_all_methods():
    page = (ROOT / "docs" / "compare.md").read_text()
    rows = re.findall(r"^\| `\"(.+?)\"`( ★)? \|.*\|.*\| (?:.* )?(\d+) \|", page, re.M)
    methods = keras_modals.evaluation.METHODS
    assert sorted(name for name, *_ in rows) == sorted(methods)
    for name, star, trainings in rows:
        assert (star != "") == (name in DEFAULT_METHODS), name
        method = methods[name]
        assert int(trainings) == len(method.grid) * method.trainings, name
