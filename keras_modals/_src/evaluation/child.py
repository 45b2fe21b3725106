"""Runs trainings of a thread in a child process.

In a process with several threads, others draw from the random state that
`keras.utils.set_random_seed` sets.
"""

import os
import pickle
import select
import subprocess
import sys
import threading
from typing import Any

from keras_modals._src.devices import module_path

_local = threading.local()


def run(packed, index):
    """Runs one task of a packed experiment in this thread's child process."""
    try:
        child = _ask(packed, index)
    except BrokenPipeError:
        # The child was idle and has just ended.
        child = _ask(packed, index)
    try:
        is_error, value = pickle.load(child.stdout)
    except EOFError:
        raise RuntimeError(
            "The process of a training was killed, possibly for lack of memory. Use "
            f"fewer `n_jobs`. Received: exit status {child.wait()}"
        ) from None
    if is_error:
        raise value
    return value


def _ask(packed, index):
    child: Any = getattr(_local, "child", None)
    if child is None or child.poll() is not None:
        child = _local.child = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": module_path()},
        )
    pickle.dump((packed, index), child.stdin)
    child.stdin.flush()
    return child


def serve():
    """Answers requests until the parent closes the pipe or ends, or is idle."""
    from keras_modals._src.evaluation import jobs

    threading.Thread(target=jobs.end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    # Keep the output of trainings out of the answers.
    os.dup2(2, 1)
    while select.select([sys.stdin], [], [], jobs.IDLE)[0]:
        try:
            packed, index = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answers.write(_answer(packed, index))
        answers.flush()


def _answer(packed, index):
    from keras_modals._src.evaluation import jobs

    try:
        return pickle.dumps((False, jobs.run(packed, None, index)))
    except Exception as error:
        try:
            return pickle.dumps((True, error))
        except Exception:
            # The error cannot be pickled.
            text = f"{type(error).__name__}: {error}"
            return pickle.dumps((True, RuntimeError(text)))
