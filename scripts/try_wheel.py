"""Trains with the installed package, as a new user would."""

import importlib.metadata
import pathlib
import re
import sys

import keras
import numpy as np

import keras_modals

package = pathlib.Path(keras_modals.__file__).parent
assert "site-packages" in package.parts, package
metadata = importlib.metadata.metadata("keras-modals").json
assert metadata["version"] == keras_modals.__version__
# Relative links would not work on the package index.
links = re.findall(r"\]\(([^)]+)\)", metadata["description"])
assert links, "no description"
assert all(link.startswith("https://") for link in links), links

inputs = keras.Input((8,))
latents = keras.layers.Dense(16, "relu")(inputs)
latents = keras_modals.LatentAugmentation(num_classes=3)(latents)
outputs = keras.layers.Dense(3, "softmax")(latents)
model = keras_modals.ModalsModel(inputs, outputs)
model.compile("adam", "sparse_categorical_crossentropy")
labels = np.arange(48) % 3
x = np.random.default_rng(0).normal(size=(48, 8)) + np.eye(3, 8)[labels]
history = model.fit(x, labels, epochs=2, verbose=0).history
assert np.isfinite(history["loss"]).all()
assert "keras_tuner" not in sys.modules, "Keras Tuner is an extra"
print(f"The wheel of keras_modals {keras_modals.__version__} works.")
