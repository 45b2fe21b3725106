"""Models as users have them train augmented, or are refused in one sentence."""

import re

import keras
import numpy as np
import pytest
from places import PLACES, TENSORFLOW_ONLY, compile_as
from portable import BACKEND

import keras_modals

pytest.importorskip("tensorflow", reason="streams are `tf.data.Dataset`s")

#: Of a model that is refused, what the sentence speaks of. All others train.
REFUSED = {
    "oxford_pets_image_segmentation": "each position",
    "text_classification_end_to_end": "augment that model, and build the outer one",
    "structured_data_from_scratch": "several tensors|no place",
    "ctc_asr": "each position",
    "timeseries_weather_forecasting": "regression",
    "multi_label_classification": "several labels|multi-label",
    "actor_critic_cartpole": "several outputs",
}

#: What may be warned of.
WARNED = {
    # Regularizers without a config; and a batch of one has no partner to mix with.
    "attention_mil_classification": ".*(shares its layers|had one sample)",
    "pointnet": ".*shares its layers",
    # On JAX, of the plain model as well.
    "text_classification_from_scratch": "Explicitly requested dtype int64",
}

#: What Keras does not train without augmentation: with PyTorch, losses of each pixel.
PLAIN_FAILS = [("oxford_pets_image_segmentation", "torch")]


def _cases():
    cases = []
    for name in PLACES:
        marks = []
        if name in TENSORFLOW_ONLY and BACKEND != "tensorflow":
            marks.append(
                pytest.mark.skip(reason="Keras has string tensors on TensorFlow only")
            )
        if name in WARNED:
            marks.append(pytest.mark.filterwarnings(f"ignore:{WARNED[name]}"))
        cases.append(pytest.param(name, marks=marks))
    return cases


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.parametrize("name", _cases())
def test_a_model_trains_augmented_or_is_refused_in_one_sentence(name):
    place = PLACES[name]()
    if name not in REFUSED:
        _check_training(place)
        return
    _check_refusal(place, REFUSED[name])
    if place.model.compiled and (name, BACKEND) not in PLAIN_FAILS:
        assert np.isfinite(place.train(_eager(place.model)))


def _eager(model):
    """On TensorFlow, tracing the steps would take most of a test's time."""
    model.run_eagerly = BACKEND == "tensorflow"
    return model


def _augment(place, **arguments):
    augmented = keras_modals.augment(place.model, seed=0, **arguments)
    compile_as(augmented, place.model)
    return _eager(augmented)


def _check_training(place):
    plain = _eager(place.model)
    same = _augment(place, policy=keras_modals.Policy.zero(), num_views=1)
    augmented = _augment(place)
    for model in (same, augmented):
        # What is frozen stays so.
        assert len(model.trainable_weights) == len(plain.trainable_weights)
    expected = place.predict(plain)
    np.testing.assert_allclose(place.predict(augmented), expected, 1e-5, 1e-6)
    # Dropout draws from copies of the plain model's seeds.
    losses = []
    state = [np.array(keras.ops.convert_to_numpy(v)) for v in plain.variables]
    for model in (plain, same, augmented):
        # Where a layer cannot be copied, all have the same, its seeds included.
        for variable, value in zip(plain.variables, state):
            variable.assign(value)
        losses.append(place.train(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert np.isfinite(losses).all()


def _check_refusal(place, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011, matched below
        _train_augmented(place)
    message = str(refusal.value)
    assert re.search(sentence, message, re.IGNORECASE), message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


def _train_augmented(place):
    """Trains, or is refused before a weight changes."""
    augmented = _augment(place)
    weights = augmented.get_weights()
    try:
        place.train(augmented)
    except ValueError:
        for before, after in zip(weights, augmented.get_weights()):
            np.testing.assert_array_equal(before, after)
        raise
