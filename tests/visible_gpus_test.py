import subprocess

import pytest

from keras_modals._src import devices
from keras_modals._src.devices import visible_gpus


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("", []),
        ("0", ["0"]),
        ("2, 0", ["2", "0"]),
        ("-1", []),
        ("1,-1,2", ["1"]),
        ("GPU-8d4f,MIG-77a1", ["GPU-8d4f", "MIG-77a1"]),
    ],
)
def test_those_of_the_environment(listed, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == expected


def test_those_of_the_machine(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(command, **arguments):
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, stdout="0\n1\n")

    monkeypatch.setattr(devices.subprocess, "run", run)
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi")]
)
def test_none(error, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(*args, **kwargs):
        raise error

    monkeypatch.setattr(devices.subprocess, "run", run)
    assert visible_gpus() == []
