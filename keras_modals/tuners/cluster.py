"""What a worker of a cluster needs to outlive its chief, and a chief its workers."""

import contextlib
import functools
import os
import threading
import time

import grpc
import keras_tuner

#: Seconds between two signs of life of a worker.
PULSE = 10.0

#: Seconds for which a worker asks again after its connection to the chief broke.
PATIENCE = 600.0


class PatientClient:
    """An oracle's client that asks again when the chief was gone.

    A request may then arrive twice, which `PopulationBasedOracle` bears.
    """

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        @functools.wraps(attribute)
        def ask(*args, **kwargs):
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    return attribute(*args, **kwargs)
                except grpc.RpcError as error:
                    gone = error.code() == grpc.StatusCode.UNAVAILABLE
                    if not gone or time.monotonic() > end:
                        raise
                time.sleep(0.5)

        return ask


@contextlib.contextmanager
def watch_workers(oracle):
    """Releases workers that fell silent, if this process is a cluster's chief.

    Without it the chief would wait for them forever when all others have ended.
    """
    if "chief" not in os.environ.get("KERASTUNER_TUNER_ID", ""):
        yield
        return
    with _repeated(PULSE, oracle.release_silent):
        yield


@contextlib.contextmanager
def signs_of_life(oracle, trial_id):
    """Tells a chief, while a trial runs here, that it does."""
    if isinstance(oracle, keras_tuner.Oracle):
        yield
        return
    with _repeated(PULSE, lambda: oracle.get_trial(trial_id)):
        yield


@contextlib.contextmanager
def _repeated(seconds, function):
    over = threading.Event()

    def repeat():
        while not over.wait(seconds):
            function()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
