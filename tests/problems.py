"""A small classification problem, and models for it."""

import keras
import numpy as np

import keras_modals

NUM_CLASSES, FEATURES = 3, 8


#: Moves every sample, and reads the memory.
POLICY = keras_modals.Policy.single("difference_transform", 0.4)


def make_data(rng, size=96):
    labels = np.arange(size) % NUM_CLASSES
    x = rng.normal(size=(size, FEATURES)) + 2 * np.eye(NUM_CLASSES, FEATURES)[labels]
    return x.astype("float32"), labels.astype("int32")


def plain_model(dropout=0.0):
    inputs = keras.Input((FEATURES,), name="features")
    hidden = keras.layers.Dense(16, "relu", name="hidden")(inputs)
    if dropout:
        hidden = keras.layers.Dropout(dropout, seed=0)(hidden)
    latents = keras.layers.Dense(6, name="latents")(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax", name="head")(latents)
    return keras.Model(inputs, outputs)


def modals_model(model=None, **layer):
    return keras_modals.augment(
        model or plain_model(),
        **{
            "seed": 0,
            "policy": POLICY,
            "num_views": 4,
            "layer": "head",
            "warmup_steps": 0,
            **layer,
        },
    )


def compile_(model, optimizer="adam", **arguments):
    """Compiles a model for a few steps. On TensorFlow, they are eager by default, since
    building their graph would take most of a test's time. On JAX, eager steps take
    longer."""
    backend = keras.backend.backend()
    if arguments.get("prior_weight"):
        # Use a small discriminator.
        discriminator = keras_modals.GaussianDiscriminator((8,), seed=0)
        weight = arguments.pop("prior_weight")
        terms = arguments.setdefault("terms", [])
        terms.append(keras_modals.Prior(weight, discriminator))
    is_jitted = arguments.setdefault("jit_compile", backend == "jax")
    arguments.setdefault("run_eagerly", backend == "tensorflow" and not is_jitted)
    model.compile(
        optimizer,
        arguments.pop("loss", "sparse_categorical_crossentropy"),
        metrics=["accuracy"],
        **arguments,
    )
    return model
