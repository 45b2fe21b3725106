"""A `ModalsModel` supports what users do with Keras models in addition to training."""

import keras
import keras_hub
import numpy as np
import pytest
from portable import array
from problems import NUM_CLASSES, POLICY, compile_, make_data, modals_model
from sklearn.model_selection import cross_val_score

import keras_modals


def test_scikit_learn_through_keras_wrapper(rng):
    x, y = make_data(rng, 120)

    def build(X, y):  # noqa: N803, Keras passes them by name
        # The wrapper makes the labels one-hot.
        optimizer = keras.optimizers.Adam(1e-2)
        return compile_(modals_model(), optimizer, loss="categorical_crossentropy")

    classifier = keras.wrappers.SKLearnClassifier(build)
    # Keras's wrapper loses its own `fit_kwargs` when scikit-learn clones it.
    fit = {"epochs": 15, "batch_size": 20, "verbose": 0}
    scores = cross_val_score(classifier, x, y, cv=2, params=fit)
    assert scores.shape == (2,)
    assert scores.mean() > 1.5 / NUM_CLASSES


def test_the_summary_shows_the_layer(capsys):
    modals_model().summary()
    text = capsys.readouterr().out
    assert "latent_augmentation" in text
    assert "LatentAugmentation" in text


@pytest.mark.slow
@pytest.mark.backend
def test_keras_hub(rng):
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=12,
    )
    model = keras_hub.models.BertTextClassifier(backbone, 3, preprocessor=None)
    augmented = keras_modals.augment(model, policy=POLICY)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compile_(augmented, loss=loss)
    x = {
        "token_ids": rng.integers(0, 50, (12, 12)),
        "segment_ids": np.zeros((12, 12), "int32"),
        "padding_mask": np.arange(12) < rng.integers(3, 12, (12, 1)),
    }
    augmented.train_on_batch(x, np.arange(12) % 3)
    counts = augmented.latent_augmentation.memory.counts(np.arange(3))
    assert array(counts).tolist() == [4, 4, 4]
    assert augmented.predict(x, verbose=0).shape == (12, 3)


def test_a_plot_of_the_model_shows_the_layer():
    # This is what `keras.utils.plot_model` draws, with an external program.
    dot = keras.utils.model_to_dot(modals_model(), show_layer_names=True)
    assert "latent_augmentation" in dot.to_string()
    assert "LatentAugmentation" in dot.to_string()


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize("name", ["MobileNetV2"])
def test_keras_applications(name, rng):
    application = getattr(keras.applications, name)
    model = application(weights=None, input_shape=(32, 32, 3), classes=4)
    augmented = keras_modals.augment(model, policy=POLICY)
    compile_(augmented)
    x = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    augmented.train_on_batch(x, np.arange(4))
    assert augmented.predict(x, verbose=0).shape == (4, 4)
    counts = augmented.latent_augmentation.memory.counts(np.arange(4))
    assert array(counts).tolist() == [1, 1, 1, 1]
