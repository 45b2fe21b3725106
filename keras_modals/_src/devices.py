"""Resources that processes on one machine share: GPUs (found without allocating their
memory), processors, and the import path."""

import itertools
import os
import subprocess
import sys


def visible_gpus():
    """Lists the GPUs that this process may use, in the form of `CUDA_VISIBLE_DEVICES`.

    The backend is not queried: TensorFlow and JAX would initialize every GPU they find.

    Returns:
        List of strings. Empty if there is no NVIDIA GPU.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return _installed_gpus()
    names = (name.strip() for name in listed.split(","))
    # CUDA ignores the first invalid entry, such as -1, and all entries after it.
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
    """Returns the number of threads for each of `processes` processes, as a string."""
    return str(max(1, (os.cpu_count() or 1) // processes))


def module_path():
    """Returns the `PYTHONPATH` that lets another process import the same modules."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
