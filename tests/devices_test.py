"""Training on several devices gives the same results as on one."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from portable import BACKEND, tensorflow_only

SCRIPT = pathlib.Path(__file__).with_name("devices_step.py")


def start(kind, path, **environment):
    root = str(SCRIPT.parents[1])
    environment = {**os.environ, "PYTHONPATH": root, **environment}
    environment["KERAS_BACKEND"] = BACKEND
    return subprocess.Popen([sys.executable, SCRIPT, kind, path], env=environment)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def results_by_kind(folder):
    kinds = ("one", "data_parallel") if BACKEND == "jax" else ("one", "mirrored")
    processes = {kind: start(kind, folder / f"{kind}.npz") for kind in kinds}
    if BACKEND == "tensorflow":
        workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
        for index in range(2):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": workers}, "task": task})
            name = f"worker{index}"
            path = folder / f"{name}.npz"
            processes[name] = start("workers", path, TF_CONFIG=config)
    failed = [name for name, process in processes.items() if process.wait()]
    assert failed == []
    return {name: dict(np.load(folder / f"{name}.npz")) for name in processes}


def assert_equal(results, expected, names):
    assert len(names) > 4
    for name in names:
        np.testing.assert_allclose(
            results[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )


pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        BACKEND == "torch", reason="Keras distributes nothing on PyTorch"
    ),
]


@pytest.mark.slow
def test_several_devices_come_to_what_one_comes_to(tmp_path):
    results = results_by_kind(tmp_path)
    assert_same_without_draws(results)
    assert_memories_agree_with_draws(results)
    if BACKEND == "tensorflow":
        assert_draws_are_independent(results)


def assert_same_without_draws(results):
    """Compares weights, logs, memory and statistics after two epochs. A worker's part
    of a batch is every other sample, so the order of its memory differs."""
    expected = results["one"]
    for kind, result in results.items():
        kept = ("weight", "log", "statistics")
        if not kind.startswith("worker"):
            kept += ("memory",)
        assert_equal(result, expected, [n for n in expected if n.startswith(kept)])


def assert_memories_agree_with_draws(results):
    """Replicas that draw separately move their parts of a batch in different ways, but
    remember the same."""
    expected = results["one"]
    drawn = [name for name in expected if name.startswith("drawn ")]
    for result in results.values():
        assert all(np.all(np.isfinite(result[name])) for name in drawn)
        counts = [name for name in drawn if name.endswith(("count", "counters"))]
        assert len(counts) == 2
        for name in counts:
            np.testing.assert_array_equal(result[name], expected[name])
        # The start and the samples are the same, so results are close.
        for name in ("drawn log loss", "drawn log triplet_loss"):
            np.testing.assert_allclose(result[name], expected[name], rtol=0.1)
    if BACKEND == "jax":
        # On JAX, draws are for the whole batch, whatever the devices.
        assert_equal(results["data_parallel"], expected, drawn)
    else:
        assert_equal(results["worker0"], results["worker1"], drawn)


def assert_draws_are_independent(results):
    assert len(results["one"]["draws"]) == 1
    for first, second in (
        results["mirrored"]["draws"],
        [results[f"worker{index}"]["draws"][0] for index in range(2)],
    ):
        for draws in (first, second):
            assert abs(draws.mean()) < 4 / np.sqrt(len(draws))
            assert abs(draws.std() - 1) < 4 / np.sqrt(2 * len(draws))
        correlation = np.corrcoef(first, second)[0, 1]
        assert abs(correlation) < 4 / np.sqrt(len(first))


@tensorflow_only
def test_refuses_other_strategies_by_name(rng):
    import tensorflow as tf
    from problems import compile_, modals_model

    from keras_modals._src.training.tensorflow import _check_strategy

    class TPUStrategy:
        num_replicas_in_sync = 8

    model = compile_(modals_model())
    _check_strategy(model, tf.distribute.get_strategy())
    with pytest.raises(NotImplementedError, match="strategy TPUStrategy of 8"):
        _check_strategy(model, TPUStrategy())
