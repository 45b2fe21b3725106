"""Runs a comparison in several processes, with joblib."""

import itertools
import os
import pickle
import tempfile
import threading
import time
import types
import zlib
from concurrent.futures.process import BrokenProcessPool
from numbers import Integral
from typing import Any

import cloudpickle
import joblib
import keras
import numpy as np
from joblib.parallel import get_active_backend

from keras_modals._src.devices import threads_each, visible_gpus
from keras_modals._src.evaluation import child

#: The number of times in a row that processes may be killed before any training ends.
MAX_LOSSES = 3
#: Seconds after which an idle process on this machine ends.
IDLE = 20
#: Runs per process in a group, for backends that return results only at their end.
ROUND = 4


def check_jobs(n_jobs):
    """Returns the number of parallel runs, as joblib counts them."""
    is_integer = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is not None and (not is_integer or n_jobs == 0):
        raise ValueError(
            "Invalid value received for argument `n_jobs`. Expected a positive "
            "integer, -1 for all cores, or `None` for one run at a time or the number "
            f"set by `joblib.parallel_config`. Received: n_jobs={n_jobs!r}"
        )
    number = joblib.effective_n_jobs(n_jobs)
    engine = get_active_backend()[0]
    if number > 1 and getattr(engine, "uses_threads", False):
        raise ValueError(
            "Keras trains one model at a time in a process: choose a joblib backend "
            f'that uses processes, such as "loky". Received: {type(engine).__name__}'
        )
    return number


def outcomes(experiment, tasks, n_jobs):
    """Yields the index and `Outcome` of each task, in the order in which they end.

    Args:
        experiment: An `Experiment`.
        tasks: Iterator of indices of the experiment's tasks; a run begins when its
            index is taken.
        n_jobs: Integer, the number of parallel runs.
    """
    if n_jobs == 1:
        for index in tasks:
            yield index, experiment.run(index)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = (
            _packed(experiment),
            _environment(n_jobs),
            _slots(folder, n_jobs),
            os.getpid() if _is_local() else None,
        )
        yield from _outcomes(arguments, tasks, n_jobs)


def _outcomes(arguments, tasks, n_jobs):
    call = joblib.delayed(_by_value(_work))
    running: list[int] = []

    def calls():
        for index in tasks:
            running.append(index)
            yield call(*arguments, index)

    losses = 0
    while True:
        try:
            for index, outcome in _results(calls(), n_jobs):
                running.remove(index)
                losses = 0
                yield index, outcome
            return
        except BrokenProcessPool:
            losses += 1
            if losses == MAX_LOSSES:
                raise RuntimeError(
                    f"{losses} times in a row, a process was killed before any "
                    "training ended, possibly for lack of memory. Use fewer `n_jobs`. "
                    f"Received: n_jobs={n_jobs}"
                ) from None
        # Repeat the runs that were lost with a process.
        tasks = itertools.chain(sorted(running), tasks)
        running.clear()


def _results(calls, n_jobs):
    options: dict[str, Any] = {"n_jobs": n_jobs, "batch_size": 1}
    if _is_local():
        options["idle_worker_timeout"] = IDLE
    if get_active_backend()[0].supports_return_generator:
        yield from joblib.Parallel(
            return_as="generator_unordered", pre_dispatch=n_jobs, **options
        )(calls)
        return
    with joblib.Parallel(**options) as parallel:
        while some := list(itertools.islice(calls, ROUND * n_jobs)):
            yield from parallel(some)


def _is_local():
    """Whether the processes are joblib's own, on this machine."""
    return type(get_active_backend()[0]).__name__ == "LokyBackend"


def _packed(experiment):
    """Pickles an experiment and this process's Keras settings into an array of bytes,
    which joblib shares with processes on this machine."""
    own = {
        name: value
        for name, value in keras.saving.get_custom_objects().items()
        # Other modules register their objects when they are imported.
        if getattr(value, "__module__", None) == "__main__"
    }
    config = {
        name: getattr(keras.config, name)()
        for name in ("floatx", "epsilon", "image_data_format", "dtype_policy")
    }
    try:
        content = cloudpickle.dumps((config, own, experiment))
    except Exception as error:
        raise ValueError(
            "With `n_jobs`, the build function, the data, the methods and the "
            "arguments of `fit` are sent to other processes and must be picklable. "
            "Create datasets, models and callbacks inside functions. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return np.frombuffer(content, "uint8")


def _environment(n_jobs):
    threads = threads_each(n_jobs)
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    own = {name: threads for name in names if _is_local() and name not in os.environ}
    return {**own, "KERAS_BACKEND": keras.backend.backend()}


def _slots(folder, n_jobs):
    """Returns pairs of a file and a GPU, one for each process, if there are several
    GPUs. A process that locks the file owns the GPU until it ends."""
    gpus = visible_gpus() if _is_local() else []
    if len(gpus) < 2:
        return []
    return [
        (os.path.join(folder, f"{slot}.lock"), gpus[slot % len(gpus)])
        for slot in range(n_jobs)
    ]


def _work(packed, environment, slots, parent, index):
    """Runs a task in a process that may not have imported Keras yet."""
    import os
    import sys

    if "keras" not in sys.modules:
        os.environ.update(environment)
        for path, gpu in slots:
            import fcntl

            file = os.open(path, os.O_CREAT | os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                continue
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            break
    from keras_modals._src.evaluation import jobs

    return index, jobs.run(packed, parent, index)


def _by_value(function):
    """Copies a function so that it is sent by value, without imports on arrival."""
    copy = types.FunctionType(function.__code__, {"__builtins__": __builtins__})
    copy.__module__ = "__main__"
    return copy


# In another process ----------------------------------------------------------------

_received: dict[int, Any] = {}


def run(packed, parent, index):
    """Runs one task of a packed experiment, and returns its `Outcome`."""
    if threading.current_thread() is not threading.main_thread():
        return child.run(packed, index)
    number = zlib.crc32(packed)
    if number not in _received:
        if parent is not None and not _received:
            threading.Thread(target=end_with, args=(parent,), daemon=True).start()
        _received.clear()
        _received[number] = _unpacked(packed)
    return _received[number].run(index)


def _unpacked(packed):
    config, own, experiment = pickle.loads(packed)
    for name, value in config.items():
        getattr(keras.config, f"set_{name}")(value)
    for name, value in own.items():
        package, _, name = name.rpartition(">")
        keras.saving.register_keras_serializable(package, name)(value)
    return experiment


def end_with(parent):
    """Ends this process when its parent is gone, since nobody waits for its result."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
