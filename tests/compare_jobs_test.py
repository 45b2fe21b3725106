"""`compare` in several processes."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import joblib
import keras
import numpy as np
import pytest
from problems import FEATURES, NUM_CLASSES, compile_, make_data, plain_model

import keras_modals
from keras_modals._src.evaluation import jobs
from keras_modals.evaluation import METHODS, Comparison

FAST = {"epochs": 2, "batch_size": 20, "verbose": 0}
METHOD_NAMES = ["none", "mixup", "SMOTE"]


def build():
    # Tracing would take longer than the few steps. JAX has no eager mode.
    return compile_(plain_model(), run_eagerly=keras.backend.backend() != "jax")


def numbers(result):
    """Returns the values of all runs, except the seconds, sorted by run."""
    runs = result.runs[result.runs["metric"] != "seconds"]
    keys = ["method", "seed", "split", "metric"]
    return runs.set_index(keys)["value"].sort_index()


@pytest.mark.slow
@pytest.mark.backend
def test_as_many_processes_have_the_same_numbers(rng, tmp_path):
    data = make_data(rng)
    one = keras_modals.compare(build, data, METHOD_NAMES, 2, **FAST)
    path = tmp_path / "runs.csv"
    two = keras_modals.compare(
        build, data, METHOD_NAMES, 2, n_jobs=2, path=path, **FAST
    )
    assert two.runs["method"].tolist() == one.runs["method"].tolist()
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=1e-5)
    assert (numbers(two).index == numbers(one).index).all()
    np.testing.assert_array_equal(numbers(Comparison.read(path)), numbers(two))


def kill_once(folder, times):
    """Returns a method that kills its own process the first `times` times."""

    def train(trial, model):
        for number in range(times):
            file = pathlib.Path(folder) / str(number)
            if not file.exists():
                file.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return METHODS["none"].train(trial, model)

    return train


def test_what_a_killed_process_did_is_done_again(rng, tmp_path):
    methods = {"again": kill_once(tmp_path, 2)}
    result = keras_modals.compare(build, make_data(rng), methods, 2, n_jobs=2, **FAST)
    assert result.changes("data", "again").tolist() == [0.0, 0.0]
    assert result.skipped == {}
    assert len(list(tmp_path.iterdir())) == 2


def test_says_that_processes_are_killed_again_and_again(rng, tmp_path):
    methods = {"again": kill_once(tmp_path, 99)}
    with pytest.raises(RuntimeError, match=r"3 times in a row.*fewer `n_jobs`"):
        keras_modals.compare(build, make_data(rng), methods, 2, n_jobs=2, **FAST)


def test_failures_are_told_as_in_one_process(rng):
    def fail(trial, model):
        raise RuntimeError("out of memory\nand more")

    data = make_data(rng)
    with pytest.warns(UserWarning, match="'fails' failed, RuntimeError: out of memory"):
        result = keras_modals.compare(build, data, {"fails": fail}, 2, n_jobs=2, **FAST)
    assert result.summary()["runs"].tolist() == [2]
    with pytest.raises(RuntimeError, match="out of memory"):
        keras_modals.compare(build, data, {"none": fail}, 2, n_jobs=2, **FAST)


def test_refuses(rng):
    data = make_data(rng)
    for n_jobs in (0, 1.5, True, "all"):
        with pytest.raises(ValueError, match=r"argument `n_jobs`. Expected a positive"):
            keras_modals.compare(build, data, n_jobs=n_jobs, **FAST)
    with (
        joblib.parallel_config("threading", n_jobs=2),
        pytest.raises(ValueError, match="one model at a time in a process"),
    ):
        keras_modals.compare(build, data, **FAST)
    with pytest.raises(ValueError, match=r"must be picklable\. Create datasets"):
        keras_modals.compare(
            build, data, n_jobs=2, callbacks=[threading.Lock()], **FAST
        )


class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def build_doubled(layer=None):
    inputs = keras.Input((FEATURES,))
    hidden = (layer or Twice())(inputs)
    hidden = keras.layers.Dense(16, "relu")(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    return compile_(keras.Model(inputs, outputs), run_eagerly=True)


#: Script that calls `compare` in a process to kill.
SCRIPT = """
import sys
import numpy as np
import keras, keras_modals
sys.path.insert(0, sys.argv[2])
from compare_jobs_test import build_doubled
from problems import make_data

@keras.saving.register_keras_serializable("mine")
class Double(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs

keras_modals.compare(
    lambda: build_doubled(Double()), make_data(np.random.default_rng(0)),
    ["none", "latent mixing"], 3, epochs=int(sys.argv[3]), batch_size=20, n_jobs=2,
    path=sys.argv[1], verbose=0,
)
"""


def start(path, epochs):
    here = str(pathlib.Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), here, str(epochs)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def processes_of(session):
    """Returns the ids of the live processes of a session."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="reads /proc")
def test_a_killed_call_leaves_nobody_behind_and_goes_on(tmp_path):
    path = tmp_path / "runs.csv"
    process = start(path, 3)
    wait_until(lambda: path.exists() and path.read_text().count("settings") >= 2)
    process.kill()
    process.wait()
    wait_until(lambda: not processes_of(process.pid))
    before = path.read_text()
    assert start(path, 3).wait(120) == 0
    assert path.read_text().startswith(before)
    whole = keras_modals.compare(
        build_doubled,
        make_data(np.random.default_rng(0)),
        ["none", "latent mixing"],
        3,
        **{**FAST, "epochs": 3},
    )
    np.testing.assert_allclose(
        numbers(Comparison.read(path)), numbers(whole), rtol=1e-5
    )


# Third-party engines ---------------------------------------------------------------


def test_dask(rng):
    import distributed

    data = make_data(rng)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = keras_modals.compare(build, data, METHOD_NAMES, 1, n_jobs=2, **FAST)
    expected = keras_modals.compare(build, data, METHOD_NAMES, 1, **FAST)
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-5)


def test_ray(rng, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.util.joblib import register_ray

    data = make_data(rng)
    here = str(pathlib.Path(__file__).parent)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            found = keras_modals.compare(build, data, METHOD_NAMES, 1, n_jobs=2, **FAST)
    finally:
        ray.shutdown()
    expected = keras_modals.compare(build, data, METHOD_NAMES, 1, **FAST)
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-5)


def test_each_process_has_a_gpu_of_its_own(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "visible_gpus", lambda: ["3", "5"])

    def look(trial, model):
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        (tmp_path / f"{gpu} {os.getpid()}").touch()
        # Wait until the other process has started, too.
        end = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        return model

    # Do not reuse a process that has already imported Keras.
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    methods = {"none": look}
    keras_modals.compare(build, make_data(rng), methods, 4, n_jobs=2, **FAST)
    names = sorted(path.name.split()[0] for path in tmp_path.iterdir())
    assert names == ["3", "5"]
