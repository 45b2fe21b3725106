"""Kills what runs in several processes at random moments, and looks at what goes on.

    python tests/killed_at_random.py [--engine compare] [--times 10] [--seed 0]
        [--victims worker ...]

`compare(n_jobs=2)`, Keras Tuner's local workers or Ray Tune; of each a worker, the
head, and all processes, twice in each search. The same call goes on, nothing is lost
and no process stays behind. Numbers are those of a call that nobody disturbed, but on
Ray, which draws whom to copy by who comes first. It takes some minutes; the tests have
one of each.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).parent


class Compare:
    script = """
        from compare_jobs_test import FAST, METHOD_NAMES, build
        data = make_data(np.random.default_rng(0))
        path = folder / "runs.csv"
        arguments = {**FAST, "epochs": 20, "n_jobs": 2}
        keras_modals.compare(build, data, METHOD_NAMES, 3, path=path, **arguments)
    """

    @staticmethod
    def numbers(folder):
        from compare_jobs_test import numbers

        from keras_modals.evaluation import Comparison

        return numbers(Comparison.read(folder / "runs.csv")).to_numpy()


class KerasTuner:
    script = """
        from population_tuner_test import make_tuner
        (x, y), (x_val, y_val) = (make_data(rng) for _ in range(2))
        tuner = make_tuner(folder, generations=6)
        tuner.search(
            x / 3, y, validation_data=(x_val / 3, y_val), batch_size=32, verbose=0,
            shuffle=False, workers=2,
        )
    """

    @staticmethod
    def numbers(folder):
        found = {}
        for path in (folder / "search").glob("trial_*/trial.json"):
            trial = json.loads(path.read_text())
            found[path.parent.name] = trial["score"]
        return [found[name] for name in sorted(found)]


class Ray:
    script = """
        import json
        import ray
        from ray import tune
        # Else they have to wait for whatever else runs.
        os.environ["RAY_worker_niceness"] = "0"
        from ray_test import make_trainable, make_tuner
        from keras_modals import PolicySchedule
        ray.init(num_cpus=1, include_dashboard=False)
        path = str(folder / "search")
        if tune.Tuner.can_restore(path):
            tuner = tune.Tuner.restore(path, make_trainable(), resume_errored=True)
        else:
            failures = tune.FailureConfig(max_failures=-1)
            tuner = make_tuner(folder, generations=4, failure_config=failures)
        epochs = [PolicySchedule.from_ray(each).epochs for each in tuner.fit()]
        (folder / "epochs.json").write_text(json.dumps(epochs))
    """

    @staticmethod
    def numbers(folder):
        """Returns the number of epochs in each member's schedule."""
        return json.loads((folder / "epochs.json").read_text())


#: Substrings of the command lines of processes that train.
WORKERS = (
    "loky.backend.popen",
    "keras_modals._src.tuners.worker",
    "ray::ModalsTrainable",
    "ray::_Inner",
)
ENGINES = {"compare": Compare, "keras-tuner": KerasTuner, "ray": Ray}
PREFACE = f"""
import os, pathlib, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
import numpy as np
import keras_modals
from problems import make_data
folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(0)
if __name__ == "__main__":
"""


def start(engine, folder):
    script = folder / "script.py"
    body = engine.script.replace("\n        ", "\n    ")
    script.write_text(PREFACE + body)
    with open(folder / "errors.txt", "a") as errors:
        return subprocess.Popen(
            [sys.executable, str(script), str(folder)], stdout=errors, stderr=errors
        )


def descendants(head):
    """Returns the ids of all live descendants of a process."""
    children: dict[int, list] = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        if fields := stat_of(path.name):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found, left = [], [head]
    while left:
        mine = children.get(left.pop(), [])
        found += mine
        left += mine
    return found


def stat_of(process):
    """Returns the fields of a live process from its state on, or else `[]`."""
    try:
        text = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return [] if fields[0] == "Z" else fields


def workers(head):
    """Returns the ids of the descendants of a head that train."""
    found = []
    for process in descendants(head):
        command = command_of(process)
        if any(name in command for name in WORKERS):
            found.append(process)
    return found


def command_of(process):
    try:
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes().decode()
    except OSError:
        return ""


def run(engine, victim, folder, rng, duration):
    """Repeats a call until one ends by itself. Kills once in each of the first two."""
    kills, seen = 0, set()
    while True:
        process = start(engine, folder)
        if kills < 2:
            end = time.monotonic() + rng.uniform(0, duration)
            while time.monotonic() < end or (
                # There must be a worker.
                victim == "worker" and not workers(process.pid) and stat_of(process.pid)
            ):
                time.sleep(0.05)
            seen.update(descendants(process.pid))
            kills += kill(victim, process.pid, rng)
        status = process.wait(600)
        # Processes that Ray starts check only occasionally whether Ray is alive.
        end = time.monotonic() + 300
        while left := [each for each in seen if stat_of(each)]:
            names = [command_of(each) for each in left]
            assert time.monotonic() < end, f"processes stay behind: {names}"
            time.sleep(0.05)
        if status == 0:
            return kills
        # A killed process returns -9. Any other failure is a bug.
        assert status == -signal.SIGKILL, (folder / "errors.txt").read_text()


def kill(victim, head, rng):
    if victim == "head":
        chosen = [head]
    elif victim == "all":
        chosen = [head, *descendants(head)]
    else:
        found = workers(head)
        chosen = [int(rng.choice(found))] if found else []
    for process in chosen:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            if victim == "worker":
                return 0
    return int(bool(chosen))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=list(ENGINES), default="compare")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    names = ["worker", "head", "all"]
    parser.add_argument("--victims", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    engine, rng = ENGINES[arguments.engine], np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "whole"
        whole.mkdir()
        begin = time.monotonic()
        assert start(engine, whole).wait(600) == 0, (whole / "errors.txt").read_text()
        duration = time.monotonic() - begin
        expected = engine.numbers(whole)
        for victim in arguments.victims:
            total = 0
            for number in range(arguments.times):
                own = pathlib.Path(folder) / f"{victim}{number}"
                own.mkdir()
                total += run(engine, victim, own, rng, duration)
                np.testing.assert_allclose(engine.numbers(own), expected, rtol=1e-5)
            print(
                f"{arguments.engine}, {victim}: {arguments.times} calls ended after "
                f"{total} kills, with what one has that nobody disturbed",
                flush=True,
            )


if __name__ == "__main__":
    main()
