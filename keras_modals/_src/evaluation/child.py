"""A process for a thread that is not alone in its own: there other threads draw from
the random numbers that `keras.utils.set_random_seed` sets."""

import os
import pickle
import subprocess
import sys
import threading
from typing import Any

_local = threading.local()


def run(packed, index):
    """What becomes of one task of a packed experiment, in this thread's child."""
    child: Any = getattr(_local, "child", None)
    if child is None or child.poll() is not None:
        path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        child = _local.child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
    pickle.dump((packed, index), child.stdin)
    child.stdin.flush()
    try:
        is_error, value = pickle.load(child.stdout)
    except EOFError:
        raise RuntimeError(
            "The process of a training has been killed, maybe for want of memory: use "
            f"fewer `n_jobs`. Received: exit status {child.wait()}"
        ) from None
    if is_error:
        raise value
    return value


def serve():
    """Answers until its parent closes the pipe, or ends."""
    from keras_modals._src.evaluation import jobs

    answers = os.fdopen(os.dup(1), "wb")
    # What a training prints is no answer.
    os.dup2(2, 1)
    while True:
        try:
            packed, index = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = False, jobs.run(packed, None, index)
        except Exception as error:
            answer = True, error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve()
