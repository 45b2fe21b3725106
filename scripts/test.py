"""Runs all tests on the first installed backend of PyTorch, TensorFlow and JAX. On the
others, runs the tests that touch a backend and compile fast, each with one set of
parameters. PyTorch comes first, since it compiles nothing. Passes arguments to pytest.
"""

import importlib.util
import os
import subprocess
import sys

BACKENDS = ["torch", "tensorflow", "jax"]

installed = [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
for name in set(BACKENDS) - set(installed):
    print(f"{name} is not installed: nothing is tested on it.", flush=True)
failed = []
for backend in installed:
    print(f"Tests on {backend}:", flush=True)
    fewer = ["-m", "backend and not slow", "--first-set"]
    chosen = [] if backend == installed[0] else fewer
    command = [sys.executable, "-m", "pytest", *chosen, *sys.argv[1:]]
    if subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}).returncode:
        failed.append(backend)
sys.exit(f"Tests failed on: {', '.join(failed)}" if failed else 0)
