"""Searches in real processes, which are killed. Each starts Python several times."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest
from keras_tuner.engine.trial import Trial
from population_tuner_test import data, make_tuner, scores, search  # noqa: F401
from problems import make_data

from keras_modals._src.tuners import local_workers

SCRIPT = """
import signal
import sys

# What the background starts ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = {paths!r}
import numpy as np
from population_tuner_test import make_tuner
from problems import make_data

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    (x, y), (x_val, y_val) = make_data(rng), make_data(rng)
    tuner = make_tuner({folder!r})
    tuner.search(
        x / 3, y, validation_data=(x_val / 3, y_val), batch_size=32, verbose=0,
        shuffle=False,
        **{arguments!r}
    )
    print(tuner.best_schedule().epochs, len(tuner.get_best_models()))
    tuner.results_summary()
"""


@pytest.fixture
def start():
    """Returns a function that starts a Python process to search in a folder."""
    with contextlib.ExitStack() as stack:

        def start_one(folder, environment=None, **arguments):
            process = _start(folder, environment, arguments)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start_one


def _start(folder, environment, arguments):
    tests = pathlib.Path(__file__).parent
    script = pathlib.Path(folder) / f"script{len(list(folder.glob('script*')))}.py"
    script.write_text(
        SCRIPT.format(
            paths=[str(tests), str(tests.parent)],
            folder=str(folder),
            arguments=arguments,
        )
    )
    return subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, **(environment or {})}
    )


def statuses(folder):
    """Returns the status of every trial from files of a search that may be running."""
    result = {}
    for path in sorted((folder / "search").glob("trial_*/trial.json")):
        with contextlib.suppress(FileNotFoundError):
            result[path.parent.name] = json.loads(path.read_text())["status"]
    return result


def wait_until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


def worker_processes(folder):
    """Returns the process ids of the local workers of the search in `folder`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            environment = (path / "environ").read_bytes().decode(errors="replace")
            if (
                "keras_modals._src.tuners.worker" in command
                and str(folder) in environment
            ):
                found.append(int(path.name))
    return found


def listening(*processes):
    """Returns the sockets of processes that listen for connections."""
    found = set()
    for process in processes:
        for path in pathlib.Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(path))
    sockets = []
    for name in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            sockets += [f"socket:[{fields[9]}]"] if fields[3] == "0A" else []
    return found.intersection(sockets)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Marks the environment, which workers inherit, to identify their owner."""
    monkeypatch.setenv("KERAS_MODALS_TEST", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Returns the scores of the same search in this process."""
    import numpy as np

    rng = np.random.default_rng(0)
    (x, y), (x_val, y_val) = make_data(rng), make_data(rng)
    tuner = make_tuner(tmp_path_factory.mktemp("expected"))
    search(tuner, {"x": x / 3, "y": y, "validation_data": (x_val / 3, y_val)})
    return scores(tuner)


@pytest.mark.slow
def test_workers_of_one_machine(mark, data, expected, capfd):  # noqa: F811
    tuner = make_tuner(mark)
    killed, ports = [], set()

    def kill_one():
        # Kill in the middle of a trial of the second generation.
        wait_until(lambda: "trial_0005" in statuses(mark))
        ports.update(listening(os.getpid(), *worker_processes(mark)))
        killed.append(worker_processes(mark)[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    search(tuner, data, workers=2, verbose=1)
    killer.join()
    assert killed
    # Nobody else can connect.
    assert not ports
    assert not worker_processes(mark)
    # The killed worker's member was repeated, and nothing differs.
    assert scores(tuner) == pytest.approx(expected, abs=1e-6)
    assert tuner.best_schedule().epochs == 6
    lines = capfd.readouterr().out.strip().splitlines()
    assert [line[:14] for line in lines] == [f"generation {n}/3" for n in (1, 2, 3)]


@pytest.mark.slow
def test_everything_killed_and_started_again(mark, start, data, expected):  # noqa: F811
    first = start(mark, workers=2)
    wait_until(lambda: len(statuses(mark)) >= 6)
    first.kill()
    first.wait()
    # Workers do not outlive the process that started them.
    wait_until(lambda: not worker_processes(mark), 30)
    assert "RUNNING" in statuses(mark).values()
    tuner = make_tuner(mark)
    search(tuner, data)
    assert scores(tuner) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_ctrl_c_ends_all(mark, start):
    process = start(mark, workers=2)
    # On a busy machine, the second worker may be the last to appear.
    wait_until(lambda: statuses(mark))
    assert worker_processes(mark)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert not worker_processes(mark)


class Bomb:
    """Goes off when unpickled."""

    def __reduce__(self):
        return exec, ("raise RuntimeError('no such device')",)


def test_workers_that_cannot_start_are_reported(mark, data):  # noqa: F811
    with pytest.raises(RuntimeError, match="no such device"):
        search(make_tuner(mark), data, workers=2, class_weight=Bomb())
    assert not worker_processes(mark)


def test_what_goes_wrong_in_workers_is_reported(mark, data):  # noqa: F811
    tuner = make_tuner(mark, population_size=2)
    with pytest.raises(RuntimeError, match="no_such_argument"):
        search(tuner, data, workers=2, no_such_argument=1)


def test_data_that_cannot_be_sent(tmp_path, data):  # noqa: F811
    stream = (batch for batch in [(data["x"], data["y"])])
    with pytest.raises(ValueError, match="must be picklable"):
        make_tuner(tmp_path).search(
            stream, validation_data=data["validation_data"], workers=2
        )
    # None of the task files remain, here or elsewhere.
    assert not list((tmp_path / "search").glob("*task*"))


@pytest.mark.slow
def test_chief_and_workers_of_a_cluster(mark, start, expected):
    """This is Keras Tuner's own way: the same script everywhere, with its role in the
    environment."""
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "18291"}

    def launch(name):
        return start(mark, {**address, "KERASTUNER_TUNER_ID": name})

    chief, lost, other = [launch(name) for name in ("chief", "worker0", "worker1")]
    wait_until(lambda: len(statuses(mark)) >= 5)
    lost.kill()
    lost.wait()
    # Restarted under its name, the lost worker repeats its member.
    for process in [launch("worker0"), other, chief]:
        assert process.wait(240) == 0
    tuner = make_tuner(mark)
    assert scores(tuner) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def cluster(monkeypatch):
    """Returns a function that gives this process a name in the cluster."""

    def be(name, port):
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))
        monkeypatch.setenv("KERASTUNER_TUNER_ID", name)

    return be


def test_a_chief_refuses_trials_that_are_none(cluster, tmp_path, data):  # noqa: F811
    small = {"population_size": 2, "generations": 2, "epochs_per_generation": 1}
    folder = tmp_path / "searches"
    cluster("chief", 18292)
    chief = make_tuner(folder, **small)
    serving = threading.Thread(target=search, args=(chief, data), daemon=True)
    serving.start()
    wait_until(lambda: (folder / "search" / "tuner.json").exists())
    # Anyone can ask by the same means as a worker.
    cluster("worker0", 18292)
    worker = make_tuner(folder, **small)
    made = {path.name for path in (folder / "search").iterdir()}
    stranger = Trial(hyperparameters=worker.oracle.get_space(), status="INVALID")
    stranger.trial_id = "x/../../victim/made"
    message = r"no such trial.*victim/made"
    with pytest.raises(grpc.RpcError, match=message):
        worker.oracle.get_trial(stranger.trial_id)
    with pytest.raises(grpc.RpcError, match=message):
        worker.oracle.update_trial(stranger.trial_id, {"val_accuracy": 99.0})
    with pytest.raises(grpc.RpcError, match=message):
        worker.oracle.end_trial(stranger)
    assert [path.name for path in tmp_path.iterdir()] == ["searches"]
    assert {path.name for path in (folder / "search").iterdir()} == made
    search(worker, data)
    serving.join(60)
    assert not serving.is_alive()
    assert len(scores(chief)) == 4


class FalseChief:
    """Hands out a trial that would be written elsewhere."""

    def __init__(self, tuner):
        self.objective = tuner.population.objective
        self.trial = tuner.population.create_trial("tuner0")
        self.trial.trial_id = "x/../../victim/made"

    def create_trial(self, tuner_id):
        return self.trial


def test_a_worker_refuses_ids_that_lead_elsewhere(tmp_path, data):  # noqa: F811
    tuner = make_tuner(tmp_path / "searches", epochs_per_generation=1)
    tuner.oracle = FalseChief(tuner)
    with pytest.raises(ValueError, match=r"Invalid trial id.*victim/made"):
        search(tuner, data)
    assert [path.name for path in tmp_path.iterdir()] == ["searches"]


def test_a_worker_deletes_nothing(cluster, tmp_path, data):  # noqa: F811
    small = {"population_size": 2, "generations": 1, "epochs_per_generation": 1}
    expected = scores(search(make_tuner(tmp_path, **small), data))
    cluster("worker0", 18293)
    make_tuner(tmp_path, overwrite=True, **small)
    cluster("chief", 18293)
    assert scores(make_tuner(tmp_path, **small)) == expected


def test_a_worker_that_is_faster_than_its_chief(cluster, tmp_path):
    cluster("worker0", 18294)
    make_tuner(tmp_path).save()
    cluster("chief", 18294)
    chief = make_tuner(tmp_path)
    assert chief.oracle.get_space().space


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], [None] * 3),
        (["5"], [None] * 3),
        (["3", "GPU-8d4f"], ["3", "GPU-8d4f", "3"]),
    ],
)
def test_each_worker_has_one_gpu_where_there_are_several(gpus, expected, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = [local_workers.worker_environment(i, 3, gpus) for i in range(3)]
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in seen] == expected
    assert [each["KERASTUNER_TUNER_ID"] for each in seen] == [
        "worker0",
        "worker1",
        "worker2",
    ]
