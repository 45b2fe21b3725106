"""Runs all tests on the first installed backend of PyTorch, TensorFlow and JAX, and on
the others those that touch a backend. PyTorch comes first because it compiles nothing.
Arguments are pytest's."""

import importlib.util
import os
import subprocess
import sys

CHOSEN = {"torch": "backend", "tensorflow": "backend", "jax": "backend and not slow"}

installed = [name for name in CHOSEN if importlib.util.find_spec(name) is not None]
for name in CHOSEN.keys() - set(installed):
    print(f"{name} is not installed: nothing is tested on it.", flush=True)
failed = []
for backend in installed:
    print(f"Tests on {backend}:", flush=True)
    marks = [] if backend == installed[0] else ["-m", CHOSEN[backend]]
    command = [sys.executable, "-m", "pytest", *marks, *sys.argv[1:]]
    if subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}).returncode:
        failed.append(backend)
sys.exit(f"Tests failed on: {', '.join(failed)}" if failed else 0)
