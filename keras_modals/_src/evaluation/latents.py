"""A model's latents, clean and moved, and the predictions of its head."""

import keras
import numpy as np
import pandas as pd
from keras import ops

from keras_modals._src.data.preprocessed import preprocessed
from keras_modals._src.evaluation.compiled import takes_logits
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.models.copying import copy_values, split
from keras_modals._src.models.graph import plain
from keras_modals._src.policies.policy import Policy
from keras_modals._src.rows import RowMap

CLEAN = "none"


def latents_dataframe(model, x, y, operations=None, batch_size=500):
    """Returns the latents of samples, and where operations move them.

    The model is not changed. Operations read its class memory, so train the model
    first. If the model has no class memory, as with a policy of `class_mixing` alone,
    operations use the latents of the given samples instead.

    Args:
        model: A compiled `ModalsModel`.
        x, y: Inputs and class labels, as in `fit`.
        operations: Dict from names of operations to magnitudes. Defaults to those of
            the model's policy, each with its largest magnitude.
        batch_size: Integer, of the forward pass.

    Returns:
        A pandas DataFrame with a row for each sample and operation. Its columns are
        `sample`, an index; `label`; `operation`, `"none"` for the clean latent;
        `predicted`, the class that the head predicts; and the features, `z0`, `z1` and
        so on.

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
    {'none': 30, 'class_mixing': 30}
    """
    return LatentProbe(model, batch_size).frame(x, y, operations)


class LatentProbe:
    """The encoder of a model in training, and a copy of its head.

    Args:
        model: A compiled `ModalsModel`.
        batch_size: Integer, of the forward pass.
    """

    def __init__(self, model, batch_size=500):
        self.model = model
        self.layer = model.latent_augmentation
        if self.layer.num_classes is None or self.layer.labels.per_position:
            raise ValueError(
                "Comparing latents by class needs labels with one class for each "
                "sample. "
                f"Received: a model with labels={self.layer.labels}"
            )
        self.batch_size = batch_size
        tensors, self.head = split(model, plain(model).get_layer(self.layer.name))
        self.encoder = keras.Model(plain(model).input, tensors)

    def frame(self, x, y, operations=None):
        """Like `latents_dataframe`, for the current weights of the model."""
        if operations is None:
            operations = {
                name: max(magnitude for _, magnitude in pairs)
                for name, pairs in self.layer.policy.operations.items()
            }
        for copy in self.head.layers:
            if copy.variables:
                layer = self.model.get_layer(copy.name)
                copy_values(copy.variables, layer.variables)
        if self.model.preprocessor is not None:
            arguments = {"x": x, "batch_size": self.batch_size}
            x = preprocessed(self.model.preprocessor, arguments)["x"]
        latents, *others = keras.tree.flatten(self._predict(self.encoder, x))
        labels = self.layer.labels.groups_of_array(y)
        frames = []
        for name, magnitude in {CLEAN: 0.0, **operations}.items():
            moved = latents
            if name != CLEAN:
                moved = self._move(name, magnitude, latents, labels)
            predicted = self._classes(moved, others)
            frames.append(_frame(name, moved, labels, predicted))
        return pd.concat(frames, ignore_index=True)

    def _predict(self, model, x):
        return model.predict(x, batch_size=self.batch_size, verbose=0)

    def _classes(self, latents, others):
        outputs = self._predict(self.head, [latents, *others] if others else latents)
        outputs = keras.tree.flatten(outputs)[0]
        logits = takes_logits(self.model.loss)
        return self.layer.labels.probabilities(outputs, logits).argmax(-1)

    def _move(self, operation, magnitude, latents, labels):
        config = self.layer.get_config()
        config.update(
            policy=Policy.single(operation, magnitude),
            memory_size=None,
            dtype="float32",
        )
        single = LatentAugmentation.from_config(config)
        flat = np.reshape(latents, (len(latents), -1)).astype("float32")
        single.build(flat.shape)
        flat, labels = ops.convert_to_tensor(flat), ops.convert_to_tensor(labels)
        if self.layer.memory is None:
            single.remember(flat, labels)
        elif single.memory is not None:
            copy_values(single.memory.variables, self.layer.memory.variables)
        rows = RowMap(len(latents))
        moved, _ = single.apply(flat, labels, single.draw(rows), rows)
        return np.reshape(ops.convert_to_numpy(moved), latents.shape)


def _frame(operation, latents, labels, predicted):
    latents = np.reshape(latents, (len(latents), -1)).astype("float32")
    frame = pd.DataFrame(latents, columns=[f"z{i}" for i in range(latents.shape[1])])
    frame.insert(0, "predicted", predicted)
    frame.insert(0, "operation", operation)
    frame.insert(0, "label", labels)
    frame.insert(0, "sample", range(len(latents)))
    return frame
