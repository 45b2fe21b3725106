"""Kills `compare(n_jobs=2)` at random moments, and looks at what goes on.

    python tests/killed_at_random.py [--times 10] [--seed 0] [--victims worker ...]

Of a worker, of the head, and of all processes: the same call goes on, nothing is lost,
no process stays behind, and the numbers are those of a call that nobody disturbed. It
takes some minutes; `compare_jobs_test.py` has one of each.
"""

import argparse
import os
import pathlib
import signal
import tempfile
import time

import numpy as np
from compare_jobs_test import numbers, processes_of, start

from keras_modals.evaluation import Comparison

EPOCHS = 20


def run(victim, folder, rng, duration):
    """Calls until a call ends by itself, and kills once in each of the first two."""
    path = folder / "runs.csv"
    kills = 0
    while True:
        process = start(path, EPOCHS)
        if kills < 2:
            end = time.monotonic() + rng.uniform(0, duration)
            while time.monotonic() < end or (
                # A worker has to be there.
                victim == "worker" and not others(process) and process.poll() is None
            ):
                time.sleep(0.05)
            kills += kill(victim, process, rng)
        status = process.wait(300)
        end = time.monotonic() + 30
        while processes_of(process.pid):
            assert time.monotonic() < end, "a process stays behind"
            time.sleep(0.05)
        if status == 0:
            return path, kills


def others(process):
    return [pid for pid in processes_of(process.pid) if pid != process.pid]


def kill(victim, process, rng):
    found = others(process)
    if victim == "head":
        chosen = [process.pid]
    elif victim == "all":
        chosen = [process.pid, *found]
    else:
        chosen = [rng.choice(found)] if found else []
    for pid in chosen:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            return 0
    return int(bool(chosen))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    names = ["worker", "head", "all"]
    parser.add_argument("--victims", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "whole.csv"
        begin = time.monotonic()
        assert start(whole, EPOCHS).wait(300) == 0
        duration = time.monotonic() - begin
        expected = numbers(Comparison.read(whole))
        for victim in arguments.victims:
            total = 0
            for number in range(arguments.times):
                own = pathlib.Path(folder) / f"{victim}{number}"
                own.mkdir()
                path, kills = run(victim, own, rng, duration)
                total += kills
                np.testing.assert_allclose(
                    numbers(Comparison.read(path)), expected, rtol=1e-5
                )
            print(
                f"{victim}: {arguments.times} calls went on after {total} kills, with "
                "the numbers of one that nobody disturbed",
                flush=True,
            )


if __name__ == "__main__":
    main()
