"""A model's latents, clean and moved, for those who want to look."""

import keras
import numpy as np
import pandas as pd
from keras import ops

from keras_modals.labels import class_indices
from keras_modals.layers.latent_augmentation import LatentAugmentation
from keras_modals.models.graph import plain
from keras_modals.policies.policy import Policy

CLEAN = "none"


def latents_dataframe(model, x, y, operations=None, batch_size=500):
    """A model's latents of some samples, and where operations move them.

    The model is left as it is. Operations look up what its class memory holds, so it
    should have been trained.

    Args:
        model: A `ModalsModel`.
        x, y: Inputs and class labels, as in `fit`.
        operations: Dict from names of operations to magnitudes. Defaults to those of
            the model's policy, each with its largest magnitude.
        batch_size: Integer, of the encoder's forward pass.

    Returns:
        A pandas DataFrame with a row for each sample and operation: `sample`, its
        index; `label`; `operation`, `"none"` for the clean latent; and the features,
        `z0`, `z1` and so on.

    Example:

    >>> model = keras_modals.augment(keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(4),
    ...     keras.layers.Dense(3, "softmax"),
    ... ]))
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> x, y = np.random.normal(size=(30, 8)), np.arange(30) % 3
    >>> history = model.fit(x, y, verbose=0)
    >>> frame = keras_modals.evaluation.latents_dataframe(model, x, y)
    >>> frame.groupby("operation", sort=False).size().to_dict()
    {'none': 30, 'difference_transform': 30}
    """
    layer = model.latent_augmentation
    if operations is None:
        operations = {
            name: max(magnitude for _, magnitude in pairs)
            for name, pairs in layer.policy.operations.items()
        }
    encoder = keras.Model(plain(model).input, _input_of(model, layer.name))
    latents = encoder.predict(x, batch_size=batch_size, verbose=0)
    latents = np.reshape(latents, (len(latents), -1)).astype("float32")
    labels = ops.convert_to_numpy(class_indices(np.asarray(y), layer.num_classes))
    frames = [_frame(CLEAN, latents, labels)]
    for name, magnitude in operations.items():
        moved = _move(layer, name, magnitude, latents, labels)
        frames.append(_frame(name, moved, labels))
    return pd.concat(frames, ignore_index=True)


def _input_of(model, name):
    return plain(model).get_layer(name).input


def _move(layer, operation, magnitude, latents, labels):
    config = layer.get_config()
    config.update(
        policy=Policy({operation: (1.0, magnitude)}, operation_counts=(0.0, 1.0)),
        num_views=1,
        active_views=None,
        dropout=None,
        dtype="float32",
    )
    single = LatentAugmentation.from_config(config)
    single.build(latents.shape)
    single.memory.set_weights(layer.memory.get_weights())
    labels = ops.convert_to_tensor(labels)
    latents = ops.convert_to_tensor(latents)
    moved, _ = single.apply(latents, labels, single.draw(labels))
    return ops.convert_to_numpy(moved)


def _frame(operation, latents, labels):
    frame = pd.DataFrame(latents, columns=[f"z{i}" for i in range(latents.shape[1])])
    frame.insert(0, "operation", operation)
    frame.insert(0, "label", labels)
    frame.insert(0, "sample", range(len(latents)))
    return frame
