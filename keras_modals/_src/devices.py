"""Which GPUs there are, told without taking memory on any."""

import itertools
import os
import subprocess


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
