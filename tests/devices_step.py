"""Trains on the devices of a process, and writes what they share to a file.

    python tests/devices_step.py one|mirrored|workers|data_parallel result.npz

Each process sees two CPU devices. `workers` is one of two processes, which `TF_CONFIG`
lists.
"""

import os
import sys

os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=2"
)

import keras
import numpy as np
from problems import make_data, modals_model

from keras_modals import Policy
from keras_modals._src import backend

BATCH, EPOCHS = 32, 2


def make_scope(kind):
    """Sets up the devices, and returns a context in which to create the model."""
    if keras.backend.backend() == "jax":
        devices = keras.distribution.list_devices()
        assert len(devices) == 2
        count = 2 if kind == "data_parallel" else 1
        mesh = keras.distribution.DataParallel(devices=devices[:count])
        return mesh.scope()
    import tensorflow as tf

    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy().scope()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, logical)
    count = 2 if kind == "mirrored" else 1
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices[:count]).scope()


def fit_by_hand(model, x, y):
    """Replaces `fit`, which fails with several workers in Keras 3.15, even for plain
    models."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    dataset = strategy.experimental_distribute_dataset(dataset)
    step = tf.function(lambda batch: strategy.run(model.train_step, (batch,)))
    history = {}
    for _ in range(EPOCHS):
        model.reset_metrics()
        for batch in dataset:
            step(batch)
        for metric in model.metrics:
            history.setdefault(metric.name, []).append(float(metric.result()))
    return history


def train(kind, policy, x, y, **terms):
    """Returns the weights, memory and logs of a training. All kinds start the same."""
    keras.utils.set_random_seed(0)
    model = modals_model(policy=policy, num_views=2)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile="auto", **terms)
    if kind == "workers":
        history = fit_by_hand(model, x, y)
    else:
        fit = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
        history = model.fit(x, y, **fit).history
    memory = model.latent_augmentation.memory
    statistics = memory.statistics(np.arange(memory.num_classes, dtype="int32"))
    results = {f"weight {n}": w for n, w in enumerate(model.trainable_variables)}
    results |= {f"memory {w.name}": w for w in memory.weights}
    results |= {f"statistics {k}": v for k, v in statistics._asdict().items()}
    results = {k: keras.ops.convert_to_numpy(v) for k, v in results.items()}
    return results | {f"log {name}": values for name, values in history.items()}


def draws():
    """Returns what each replica draws from one seed, of shape `(replicas, 20_000)`."""
    if keras.backend.backend() == "jax":
        return np.zeros((1, 0))
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    seed = keras.random.SeedGenerator(3)
    noise = strategy.run(tf.function(lambda: backend.normal((20_000,), seed)))
    return np.stack(
        [part.numpy() for part in strategy.experimental_local_results(noise)]
    )


def main(kind, path):
    x, y = make_data(np.random.default_rng(0), 96)
    with make_scope(kind):
        # A policy that looks up everything, but moves nothing.
        still = Policy.constant(1.0, 0.0)
        results = train(kind, still, x, y)
        # A policy that draws, with all parts of the objective.
        strong = Policy.constant(0.8, 0.5)
        drawn = train(kind, strong, x, y, triplet_weight=0.2, prior_weight=0.1)
        results |= {f"drawn {name}": value for name, value in drawn.items()}
        results["draws"] = draws()
        np.savez(path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
