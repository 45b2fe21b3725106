"""The training step: one thin file per Keras backend over one shared objective.

`train_step(model, ...)` takes and returns what `keras.Model.train_step` does on each
backend.
"""

import importlib

import keras

_backend = keras.backend.backend()
if _backend not in ("jax", "tensorflow", "torch"):
    raise ImportError(
        "keras_modals trains on the TensorFlow, JAX and PyTorch backends of Keras. "
        f"Received: keras.backend.backend()={_backend!r}"
    )
train_step = importlib.import_module(f"{__name__}.{_backend}").train_step

__all__ = ["train_step"]
