"""Runs all tests on TensorFlow, and on JAX and PyTorch, where they are installed, those
that touch a Keras backend. Arguments are pytest's."""

import importlib.util
import os
import subprocess
import sys

failed = []
for backend in ("tensorflow", "jax", "torch"):
    if importlib.util.find_spec(backend) is None:
        print(f"{backend} is not installed: nothing is tested on it.", flush=True)
        continue
    print(f"Tests on {backend}:", flush=True)
    chosen = [] if backend == "tensorflow" else ["-m", "backend"]
    command = [sys.executable, "-m", "pytest", *chosen, *sys.argv[1:]]
    if subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}).returncode:
        failed.append(backend)
sys.exit(f"Tests failed on: {', '.join(failed)}" if failed else 0)
