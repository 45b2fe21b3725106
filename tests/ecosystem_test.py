"""What users do with a Keras model besides training it works with a `ModalsModel`."""

import keras
import numpy as np
import pytest
from portable import array
from problems import NUM_CLASSES, compile_, make_data, modals_model
from sklearn.model_selection import cross_val_score

import keras_modals


def test_scikit_learn_through_keras_wrapper(rng):
    x, y = make_data(rng, 120)

    def build(X, y):  # noqa: N803, Keras passes them by name
        # The wrapper makes the labels one-hot.
        optimizer = keras.optimizers.Adam(1e-2)
        return compile_(modals_model(), optimizer, loss="categorical_crossentropy")

    classifier = keras.wrappers.SKLearnClassifier(build)
    # Keras's wrapper forgets its own `fit_kwargs` where scikit-learn copies it.
    fit = {"epochs": 15, "batch_size": 20, "verbose": 0}
    scores = cross_val_score(classifier, x, y, cv=2, params=fit)
    assert scores.shape == (2,)
    assert scores.mean() > 1.5 / NUM_CLASSES


def test_the_summary_shows_the_layer(capsys):
    modals_model().summary()
    text = capsys.readouterr().out
    assert "latent_augmentation" in text
    assert "LatentAugmentation" in text


@pytest.mark.parametrize("name", ["MobileNetV2"])
def test_keras_applications(name, rng):
    application = getattr(keras.applications, name)
    model = application(weights=None, input_shape=(32, 32, 3), classes=4)
    augmented = keras_modals.augment(model)
    compile_(augmented)
    x = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    augmented.train_on_batch(x, np.arange(4))
    assert augmented.predict(x, verbose=0).shape == (4, 4)
    counts = augmented.latent_augmentation.memory.counts(np.arange(4))
    assert array(counts).tolist() == [1, 1, 1, 1]
