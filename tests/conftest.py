import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several threads for a small model wait for each other, in each process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests compile much and run little.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    # To collect garbage here as well would take longer than most tests.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
