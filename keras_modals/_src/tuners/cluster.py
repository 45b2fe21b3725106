"""What a worker of a cluster needs to outlive its chief, and a chief its workers."""

import collections
import contextlib
import functools
import math
import os
import threading
import time

import grpc
import keras_tuner

#: Seconds between two signs of life of a worker.
PULSE = 10.0

#: Seconds without a sign of life after which a worker's member is done again.
LEASE = 60.0

#: A member with which so many workers were lost counts as failed.
MAX_LOSSES = 3

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


class Attendance:
    """When the workers of an oracle were last seen, and who was lost with what.

    Args:
        oracle: The `keras_tuner.Oracle`.

    Attributes:
        lease: Seconds without a sign of life after which a worker is silent.
    """

    def __init__(self, oracle):
        self._oracle = oracle
        self.lease = LEASE
        self._last_seen: dict[str, float] = {}
        self._losses: collections.Counter = collections.Counter()

    def see(self, tuner_id):
        self._last_seen[tuner_id] = time.monotonic()

    def see_by_trial(self, trial_id):
        for tuner_id, trial in self._oracle.ongoing_trials.items():
            if trial.trial_id == trial_id:
                self.see(tuner_id)

    def silent(self):
        """The workers that have given no sign of life for a while."""
        before = time.monotonic() - self.lease
        return [
            tuner_id
            for tuner_id in self._oracle.tuner_ids
            if self._last_seen.get(tuner_id, -math.inf) < before
        ]

    def lose(self, trial_id):
        """Counts a worker that was lost with a trial. Returns whether it was one too
        many."""
        self._losses[trial_id] += 1
        return self._losses[trial_id] >= MAX_LOSSES


def is_chief():
    """Whether this process is the chief of a cluster."""
    return "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


@contextlib.contextmanager
def watch_workers(oracle):
    """Releases workers that fell silent, if this process is a cluster's chief.

    Without it the chief would wait for them forever when all others have ended.
    """
    if not is_chief():
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
