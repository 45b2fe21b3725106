"""What processes of this machine share: its GPUs, told without taking memory on any,
its processors, and where modules are."""

import itertools
import os
import subprocess
import sys


def visible_gpus():
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` takes them.

    No backend is asked: TensorFlow and JAX would initialize all that they find.

    Returns:
        List of strings. Empty where there is no GPU of NVIDIA's.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return _installed_gpus()
    names = (name.strip() for name in listed.split(","))
    # CUDA ignores the first that is none, as -1, and all that follow.
    return list(
        itertools.takewhile(lambda name: name and not name.startswith("-"), names)
    )


def _installed_gpus():
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return listed.stdout.split()


def threads_each(processes):
    """How many threads each of so many processes has, as the environment says it."""
    return str(max(1, (os.cpu_count() or 1) // processes))


def module_path():
    """The `PYTHONPATH` with which another process finds what this one does."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
