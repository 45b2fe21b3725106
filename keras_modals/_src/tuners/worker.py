"""One worker of `PopulationBasedTuner.search(..., workers=n)`."""

import os
import pathlib
import sys
import threading
import time

import cloudpickle


def main(path, parent):
    _end_with(int(parent))
    task = pathlib.Path(path).read_bytes()
    tuner_class, arguments, fit_args, fit_kwargs = cloudpickle.loads(task)
    tuner_class(**arguments).search(*fit_args, verbose=0, **fit_kwargs)


def _end_with(parent):
    """Ends this process when its parent is gone, even if that was killed."""

    def watch():
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
