"""Searches with several processes on one machine, which communicate through pipes."""

import contextlib
import multiprocessing.connection
import os
import pathlib
import subprocess
import sys
import tempfile

import cloudpickle

from keras_modals._src.devices import module_path, threads_each, visible_gpus

#: The number of workers that may end before their first request.
MAX_FALSE_STARTS = 2


def search(tuner, workers, fit_args, fit_kwargs):
    """Runs `tuner.search` in `workers` processes, which end when it ends in any way.

    This process holds the oracle, answers the workers, and shows the progress. The
    output of workers goes to `worker*.log` in the project's folder. Messages and the
    task are pickled. They go through inherited file descriptors without a name, so no
    other user can open them.
    """
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise ValueError(
            "The environment variables make this process part of a Keras Tuner "
            "cluster, where workers are started separately. Received: "
            f"workers={workers}"
        )
    with contextlib.ExitStack() as stack:
        task = stack.enter_context(tempfile.TemporaryFile(dir=tuner.project_dir))
        _write_task(task, tuner, fit_args, fit_kwargs)
        # Tells workers that the search has started.
        tuner.save()
        gpus = visible_gpus()
        crew: list[_Worker] = []
        stack.callback(_end, crew)
        for index in range(workers):
            environment = worker_environment(index, workers, gpus)
            crew.append(_Worker(task, tuner.project_dir, environment))
        _serve(tuner.population, crew)


class _Worker:
    """A process that trains members, and the pipe to it.

    Attributes:
        asked: Boolean, whether it has sent a request.
    """

    def __init__(self, task, folder, environment):
        self._arguments = task, folder, environment
        name = environment["KERASTUNER_TUNER_ID"]
        self.log = pathlib.Path(folder) / f"{name}.log"
        self.start()

    def start(self):
        task, _, environment = self._arguments
        self.asked = False
        self.connection, theirs = multiprocessing.Pipe()
        inherited = (theirs.fileno(), task.fileno())
        with theirs, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "keras_modals._src.tuners.worker",
                    *map(str, inherited),
                ],
                env=environment,
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C should reach only this process, which ends the workers.
                start_new_session=True,
            )

    def answer(self, oracle):
        """Answers one request, or waits for the end of a process without requests."""
        try:
            method, args, kwargs = self.connection.recv()
        except (EOFError, OSError):
            self.wait()
            return
        self.asked = True
        answer = getattr(oracle, method)(*args, **kwargs)
        # The worker may have been killed since its request.
        with contextlib.suppress(OSError):
            self.connection.send(answer)

    def wait(self):
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _serve(oracle, crew):
    """Answers workers until the search is over, and restarts killed workers."""
    false_starts = 0
    while not oracle.is_finished:
        workers = {worker.connection: worker for worker in crew}
        for connection in multiprocessing.connection.wait(list(workers), timeout=1.0):
            workers[connection].answer(oracle)
        for worker in crew:
            code = worker.process.poll()
            if code is None or oracle.is_finished:
                continue
            false_starts += not worker.asked
            # Restart a killed worker; do not retry after an error.
            if code > 0 or false_starts > MAX_FALSE_STARTS:
                raise RuntimeError(
                    f"A worker has failed. The end of {worker.log}:\n"
                    f"{worker.log.read_text(errors='replace')[-2000:]}"
                )
            worker.start()


def _end(crew):
    for worker in crew:
        worker.process.terminate()
    for worker in crew:
        worker.wait()
        worker.connection.close()


def _write_task(file, tuner, fit_args, fit_kwargs):
    arguments = {
        **tuner.arguments,
        "seed": tuner.population.seed,
        # The folder already holds this search.
        "overwrite": False,
        # Each worker has its own.
        "tuner_id": None,
    }
    try:
        cloudpickle.dump((type(tuner), arguments, fit_args, fit_kwargs), file)
    except Exception as error:
        raise ValueError(
            "With `workers`, the build function and the data are sent to other "
            "processes and must be picklable. Pass arrays, or a "
            f"`keras.utils.PyDataset`. Received: {error}"
        ) from error
    file.flush()


def worker_environment(index, workers, gpus):
    """Returns the environment variables of a worker.

    They assign one of several GPUs, in turn, and a share of the CPU cores.
    """
    threads = threads_each(workers)
    environment = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        **os.environ,
        "KERASTUNER_TUNER_ID": f"worker{index}",
        "PYTHONPATH": module_path(),
    }
    if len(gpus) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return environment
