"""Runs all tests on the first installed backend of PyTorch, TensorFlow and JAX, and on
the others those that touch a backend. PyTorch comes first because it compiles nothing,
so that the tests take half as long. Arguments are pytest's."""

import importlib.util
import os
import subprocess
import sys

CHOSEN = {"torch": "backend", "tensorflow": "backend", "jax": "backend and not slow"}

failed, first = [], True
for backend, chosen in CHOSEN.items():
    if importlib.util.find_spec(backend) is None:
        print(f"{backend} is not installed: nothing is tested on it.", flush=True)
        continue
    print(f"Tests on {backend}:", flush=True)
    marks = [] if first else ["-m", chosen]
    command = [sys.executable, "-m", "pytest", *marks, *sys.argv[1:]]
    if subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}).returncode:
        failed.append(backend)
    first = False
sys.exit(f"Tests failed on: {', '.join(failed)}" if failed else 0)
