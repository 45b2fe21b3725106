"""Many devices: each trains on its part of the batch, and all share one class memory.

    python examples/many_devices.py
    KERAS_BACKEND=jax python examples/many_devices.py

Uses all available GPUs. Without GPUs, it splits the CPU into two logical devices, which
is not faster but trains the same way. Prints test accuracies with one device and with
all devices, and plots the latents of the last model to `many_devices.png`.
"""

import contextlib
import os

# Two logical CPU devices for JAX. For TensorFlow, see `devices`.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_modals
from keras_modals.plots import plot_latents


def devices():
    """Returns the names of the devices that can share a batch."""
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    if keras.backend.backend() != "tensorflow":
        raise SystemExit("Keras distributes on TensorFlow and JAX only.")
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        (processor, *_) = tf.config.list_physical_devices("CPU")
        with contextlib.suppress(RuntimeError):  # The CPU is already in use.
            tf.config.set_logical_device_configuration(
                processor, [tf.config.LogicalDeviceConfiguration()] * 2
            )
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def share_among(names):
    """Returns a context in which to create and train a model."""
    if len(names) == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=names).scope()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names).scope()


def build():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(128, "relu"),
            layers.Dense(48),
            layers.Dense(10, "softmax"),
        ]
    )
    model = keras_modals.augment(model, policy=keras_modals.Policy.constant(0.5, 0.4))
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        triplet_weight=0.1,
    )
    return model


def main(seeds=3, epochs=30):
    found = devices()
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    print(f"devices: {found}\n\ndevices   test accuracy, %: mean ± spread")
    for count in sorted({1, len(found)}):
        accuracies = []
        for seed in range(seeds):
            x_train, x_test, y_train, y_test = train_test_split(
                x, y, train_size=256, stratify=y, random_state=seed
            )
            keras.utils.set_random_seed(seed)
            with share_among(found[:count]):
                model = build()
                model.fit(x_train, y_train, batch_size=64, epochs=epochs, verbose=0)
            # A plain model, on one device.
            predicted = model.inference_model().predict(x_test, verbose=0).argmax(-1)
            accuracies.append(100 * np.mean(predicted == y_test))
        print(f"{count:7}   {np.mean(accuracies):5.1f} ± {np.std(accuracies):.1f}")
    ax = plot_latents(model, x_train, y_train)
    ax.figure.savefig("many_devices.png")


if __name__ == "__main__":
    main()
