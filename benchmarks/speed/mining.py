"""Times triplet mining, value and gradient, against other implementations.

    [KERAS_BACKEND=torch] python -m benchmarks.speed.mining

On TensorFlow, compares with the classic semi-hard formula, which has an entry for every
triplet of the batch. On PyTorch, compares with the miners of pytorch-metric-learning,
if installed. All get the same latents of size 64 and 10 classes, and are timed in turn
in one process.
"""

import importlib.util

import keras
import numpy as np

import keras_modals
from benchmarks.speed.timing import time_in_turn

MINING = ("hardest", "random", "semihard", "all")


def make_batch(size):
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(size, 64)).astype("float32")
    return latents, rng.integers(0, 10, size)


def tensorflow_functions(size):
    import tensorflow as tf

    def step(loss):
        @tf.function(jit_compile=True, autograph=False)
        def gradient(latents):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                value = loss(labels, latents)
            return tape.gradient(value, latents)

        return lambda: gradient(latents).numpy()

    def classic(labels, latents):
        """Schroff et al., 2015: for each pair, takes the nearest negative beyond the
        positive, or else the farthest negative."""
        squares = tf.reduce_sum(tf.square(latents), 1)
        products = tf.matmul(latents, latents, transpose_b=True)
        distances = tf.maximum(squares[:, None] + squares[None] - 2 * products, 0.0)
        same = labels[:, None] == labels[None]
        far = tf.reduce_max(distances)
        beyond = ~same[:, None, :] & (distances[:, None, :] > distances[:, :, None])
        nearest = tf.reduce_min(tf.where(beyond, distances[:, None, :], 2 * far), 2)
        farthest = tf.reduce_max(tf.where(same, 0.0, distances), 1)[:, None]
        negative = tf.where(tf.reduce_any(beyond, 2), nearest, farthest)
        pairs = tf.cast(same, "float32") - tf.eye(len(labels))
        terms = tf.maximum(distances - negative + 1.0, 0.0) * pairs
        return tf.reduce_sum(terms) / tf.reduce_sum(pairs)

    latents, labels = map(tf.constant, make_batch(size))
    functions = {name: step(keras_modals.TripletSelector(1.0, name)) for name in MINING}
    # For 2048 samples, it has 8.6e9 entries.
    others = {"classic semi-hard": step(classic)} if size <= 512 else {}
    return functions, others


def torch_functions(size):
    import torch

    def step(loss):
        def gradient():
            leaf = latents.clone().requires_grad_(True)
            loss(labels, leaf).backward()
            return leaf.grad

        return gradient

    latents, labels = map(torch.tensor, make_batch(size))
    functions = {name: step(keras_modals.TripletSelector(1.0, name)) for name in MINING}
    others = {}
    if importlib.util.find_spec("pytorch_metric_learning") and size <= 512:
        from pytorch_metric_learning import losses, miners

        function = losses.TripletMarginLoss(margin=1.0)

        def mined(miner):
            return lambda labels, latents: function(
                latents, labels, miner(latents, labels)
            )

        others = {
            "pytorch-metric-learning semihard": step(
                mined(miners.TripletMarginMiner(1.0, type_of_triplets="semihard"))
            ),
            "pytorch-metric-learning hardest": step(mined(miners.BatchHardMiner())),
            "pytorch-metric-learning all": step(
                lambda labels, latents: function(latents, labels)
            ),
        }
    return functions, others


def rows(quick):
    make = {"tensorflow": tensorflow_functions, "torch": torch_functions}
    backend = keras.backend.backend()
    if backend not in make:
        return
    for size in (128, 512) if quick else (128, 512, 2048):
        ours, others = make[backend](size)
        times = time_in_turn({**ours, **others}, 3 if quick else 9)
        yield (
            f"mining a batch of {size}, over random mining",
            ", ".join(
                f"{name} {time / times['random']:.2f}" for name, time in times.items()
            ),
        )


if __name__ == "__main__":
    for what, value in rows(quick=False):
        print(what, value, sep=": ", flush=True)
