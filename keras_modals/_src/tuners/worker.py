"""A worker process of `PopulationBasedTuner.search(..., workers=n)`."""

import mmap
import os
import select
import sys
import threading
from multiprocessing.connection import Connection

import cloudpickle
import keras_tuner

from keras_modals._src.tuners.population_tuner import PopulationBasedTuner


def main(connection, task):
    """Runs a task for the process at the other end of a connection.

    Args:
        connection, task: File descriptors that this process inherited.
    """
    connection = Connection(int(connection))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    content = mmap.mmap(int(task), 0, access=mmap.ACCESS_READ)
    tuner_class, arguments, fit_args, fit_kwargs = cloudpickle.loads(content)
    PopulationBasedTuner._is_local_worker = True
    tuner = tuner_class(**arguments)
    tuner.oracle = _OracleClient(connection, tuner.oracle.objective)
    keras_tuner.Tuner.search(tuner, *fit_args, **fit_kwargs)


class _OracleClient:
    """A proxy for the oracle in the process at the other end of a connection."""

    def __init__(self, connection, objective):
        self._connection = connection
        self.objective = objective

    def __getattr__(self, method):
        def ask(*args, **kwargs):
            self._connection.send((method, args, kwargs))
            return self._connection.recv()

        return ask


def _end_with(connection):
    """Ends this process when its parent ends, even if the parent was killed."""
    end = select.poll()
    end.register(connection, 0)
    end.poll()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
