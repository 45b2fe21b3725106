"""Runs the same training on every installed Keras backend."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("backend_step.py")
BACKENDS = [
    name
    for name in ("tensorflow", "jax", "torch")
    if importlib.util.find_spec(name) is not None
]


def start(name, folder):
    environment = {
        **os.environ,
        "KERAS_BACKEND": name,
        "PYTHONPATH": str(SCRIPT.parents[1]),
    }
    files = [folder / f"{name}.npz", folder / "model.keras"]
    return subprocess.Popen([sys.executable, SCRIPT, *files], env=environment)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    first, *others = BACKENDS
    # The first backend writes the model that the others read.
    assert start(first, folder).wait() == 0
    processes = [start(name, folder) for name in others]
    assert [process.wait() for process in processes] == [0] * len(others)
    return {name: dict(np.load(folder / f"{name}.npz")) for name in BACKENDS}


@pytest.mark.skipif(len(BACKENDS) < 2, reason="needs two installed backends")
def test_backends_come_to_the_same(results):
    first, *others = BACKENDS
    expected = results[first]
    assert len(expected) > 20
    for name in others:
        assert results[name].keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(
                results[name][key],
                value,
                rtol=1e-5,
                atol=1e-5,
                err_msg=f"{name}: {key}",
            )
