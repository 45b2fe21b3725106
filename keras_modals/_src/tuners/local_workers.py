"""A search by several processes of one machine: Keras Tuner's chief and workers."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import cloudpickle
import keras_tuner

#: How many workers may end before they have asked for work.
MAX_FALSE_STARTS = 2

#: The file of what workers do, in the project's folder while they are there.
TASK = "task.pickle"


def search(tuner, workers, fit_args, fit_kwargs):
    """Runs `tuner.search` in `workers` processes, which end with it, however it ends.

    This process is the chief: it holds the oracle and shows the progress. Workers'
    output goes to `worker*.log` in the project's folder.
    """
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise ValueError(
            "The environment makes this process one of a cluster of Keras Tuner, which "
            f"starts its workers by itself. Received: workers={workers}"
        )
    with contextlib.ExitStack() as stack:
        task = pathlib.Path(tuner.project_dir) / TASK
        stack.callback(task.unlink, missing_ok=True)
        _write_task(task, tuner, fit_args, fit_kwargs)
        address = {
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(_free_port()),
        }
        stack.enter_context(_environment({**address, "KERASTUNER_TUNER_ID": "chief"}))
        server = threading.Thread(
            target=keras_tuner.Tuner.search, args=(tuner,), daemon=True
        )
        server.start()
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        processes: dict[str, subprocess.Popen] = {}
        stack.callback(_end, processes)

        def start(name):
            processes[name] = _start(
                name, task, pathlib.Path(tuner.project_dir), address, threads
            )

        for index in range(workers):
            start(f"worker{index}")
        _watch(tuner, processes, start, server)


def _watch(tuner, processes, start, server):
    false_starts = 0
    while not tuner.population.is_finished:
        time.sleep(0.1)
        # The chief also ends where the search has just finished.
        if not server.is_alive() and not tuner.population.is_finished:
            raise RuntimeError("The chief of the search has ended unexpectedly.")
        for name, process in list(processes.items()):
            if process.poll() is None or tuner.population.is_finished:
                continue
            if not tuner.population.release(name):
                false_starts += 1
            # Who was killed is replaced; an error would only come again.
            if process.returncode > 0 or false_starts > MAX_FALSE_STARTS:
                log = pathlib.Path(tuner.project_dir) / f"{name}.log"
                raise RuntimeError(
                    f"A worker has failed. The end of {log}:\n"
                    f"{log.read_text(errors='replace')[-2000:]}"
                )
            start(name)


def _write_task(path, tuner, fit_args, fit_kwargs):
    arguments = {
        **tuner.arguments,
        "seed": tuner.population.seed,
        # The folder holds this search by now.
        "overwrite": False,
        # Each has one of its own.
        "tuner_id": None,
    }
    try:
        content = cloudpickle.dumps((type(tuner), arguments, fit_args, fit_kwargs))
    except Exception as error:
        raise ValueError(
            "With `workers`, the build function and the data are sent to other "
            "processes, and must be picklable: pass arrays, or a "
            f"`keras.utils.PyDataset`. Received: {error}"
        ) from error
    path.write_bytes(content)


def _start(name, task, folder, address, threads):
    environment = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        **os.environ,
        **address,
        "KERASTUNER_TUNER_ID": name,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keras_modals._src.tuners.worker",
                str(task),
                str(os.getpid()),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is for this process, which ends them.
            start_new_session=True,
        )


def _end(processes):
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _environment(values):
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
