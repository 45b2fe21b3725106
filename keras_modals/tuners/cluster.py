"""What a worker of a cluster needs to outlive its chief, and a chief its workers."""

import contextlib
import functools
import threading
import time

import grpc
import keras_tuner

#: Seconds between two signs of life of a worker.
PULSE = 10.0

#: Seconds that a worker waits for a chief that is gone to come back.
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
def signs_of_life(oracle, trial_id):
    """Tells a chief, while a trial runs here, that it does."""
    if isinstance(oracle, keras_tuner.Oracle):
        yield
        return
    over = threading.Event()

    def pulse():
        while not over.wait(PULSE):
            oracle.get_trial(trial_id)

    thread = threading.Thread(target=pulse, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
