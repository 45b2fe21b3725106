"""Warm-up: policies take effect gradually over the first steps of a training."""

import keras
import numpy as np
import pytest
from portable import BACKEND, array, tensor

import keras_modals
from keras_modals import LatentAugmentation, ModalsModel, Policy
from keras_modals._src.labels import of_groups

pytestmark = pytest.mark.backend

FEATURES, NUM_CLASSES = 6, 3

MIXING = Policy({"class_mixing": (0.8, 0.5)}, operation_counts=(0.0, 1.0))
MOVING = Policy({"difference_transform": (0.8, 0.5)}, operation_counts=(0.0, 1.0))


#: Pairs of a step and its share of augmented rows, with a warm-up of 20 steps.
STRENGTHS = [(0, 0.0), (5, 0.2), (20, 0.8), (90, 0.8)]


def model_of(policy, warmup_steps, places=2):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FEATURES,))
    hidden = inputs
    if places == 2:
        hidden = LatentAugmentation(NUM_CLASSES, MIXING, seed=1, name="first")(hidden)
    hidden = keras.layers.Dense(8, "tanh")(hidden)
    hidden = LatentAugmentation(NUM_CLASSES, policy, seed=2, name="last")(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    model = ModalsModel(inputs, outputs, warmup_steps=warmup_steps)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    return model


def data(rng, rows=24):
    x = rng.normal(size=(rows, FEATURES)).astype("float32")
    return x, np.arange(rows) % NUM_CLASSES


def copy_state(model, other):
    """Copies the variables of `other` to `model`, including those for draws."""
    for variable, value in zip(model.variables, other.variables, strict=True):
        variable.assign(array(value))


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize(("step", "expected"), STRENGTHS)
def test_the_share_of_mixed_rows_grows(step, expected, places):
    rows = 4000
    model = model_of(MIXING, 20, places)
    model.optimizer.iterations.assign(step)
    scope = model.step_scope(of_groups(tensor(np.arange(rows) % NUM_CLASSES, "int32")))
    mixed = np.mean(array(scope.rows.share) > 0)
    # Four standard deviations.
    assert abs(mixed - expected) <= 4 * np.sqrt(expected * (1 - expected) / rows)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "expected"), STRENGTHS)
def test_the_share_of_moved_rows_grows(step, expected, rng):
    rows = 4000
    model = model_of(MOVING, 20, places=1)
    x, y = data(rng, rows)
    model.fit(x, y, batch_size=rows, verbose=0)  # Fills the memory of classes.
    model.optimizer.iterations.assign(step)
    with model.step_scope(of_groups(tensor(y, "int32"))):
        outputs = array(model(x, training=True))
    moved = np.mean(np.any(outputs != array(model(x)), axis=1))
    assert abs(moved - expected) <= 4 * np.sqrt(expected * (1 - expected) / rows)


@pytest.mark.parametrize("policy", [MIXING, MOVING], ids=["mixing", "moving"])
def test_each_step_has_its_own_strength(policy, rng):
    """All steps share one trace. Only the first equals that of the plain model."""
    x, y = data(rng)
    model = model_of(policy, 3)
    # Fills the memory of classes.
    model.train_on_batch(x, y)
    model.optimizer.iterations.assign(0)
    losses = model.fit(x, y, epochs=3, batch_size=len(x), verbose=0).history["loss"]
    expected = model.evaluate(x, y, batch_size=len(x), verbose=0)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    assert abs(losses[2] - expected) > 1e-4

    # After the warm-up, training is the same as without one.
    others = model_of(policy, 0)
    copy_state(others, model)
    losses = [
        each.fit(x, y, batch_size=len(x), shuffle=False, verbose=0).history["loss"]
        for each in (model, others)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_steps_are_those_of_the_optimizer(rng):
    """A batch that only accumulates gradients is not a step."""
    x, y = data(rng)
    model = model_of(MIXING, 2)
    model.compile(
        keras.optimizers.SGD(0.0, gradient_accumulation_steps=3),
        "sparse_categorical_crossentropy",
    )
    logs = model.fit(x, y, epochs=4, batch_size=len(x), verbose=0).history["loss"]
    expected = model.evaluate(x, y, batch_size=len(x), verbose=0)
    np.testing.assert_allclose(logs[:3], expected, rtol=1e-5)
    assert abs(logs[3] - expected) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, BACKEND == "jax"])
def test_with_a_scaled_loss(jit_compile, rng):
    x, y = data(rng)
    model = model_of(MIXING, 1)
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0)),
        "sparse_categorical_crossentropy",
        jit_compile=jit_compile,
    )
    losses = model.fit(x, y, epochs=2, batch_size=len(x), verbose=0).history["loss"]
    expected = model.evaluate(x, y, batch_size=len(x), verbose=0)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    assert abs(losses[1] - expected) > 1e-4


@pytest.mark.slow
def test_a_search_has_it_and_its_best_model_does_not(rng):
    x, y = data(rng)
    model = model_of(MIXING, 50)
    search = keras_modals.SharedEncoderSearch(model, 2, seed=0)
    assert search.warmup_steps == 50
    search.fit(x, y, validation_data=(x, y), epochs=2, verbose=0)
    assert search.best_model().warmup_steps == 0


def test_it_is_fixed():
    model = model_of(MIXING, 50)
    with pytest.raises(AttributeError, match="warmup_steps"):
        model.warmup_steps = 0


def test_a_training_goes_on_where_it_was(rng, tmp_path):
    x, y = data(rng)
    model = model_of(MIXING, 5)
    model.fit(x, y, epochs=3, batch_size=len(x), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.warmup_steps == 5
    losses = [
        each.fit(x, y, epochs=3, batch_size=len(x), shuffle=False, verbose=0).history[
            "loss"
        ]
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_defaults_of_augment():
    plain = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3, "softmax")]
    )
    assert keras_modals.augment(plain).warmup_steps == 100
    assert keras_modals.augment(plain, policy=MOVING).warmup_steps == 0
    assert keras_modals.augment(plain, warmup_steps=7).warmup_steps == 7


@pytest.mark.parametrize("steps", [-1, 0.5, True, "many"])
def test_invalid_arguments(steps):
    inputs = keras.Input((4,))
    hidden = LatentAugmentation(3)(inputs)
    with pytest.raises(ValueError, match=r"`warmup_steps`\. Expected an integer of"):
        ModalsModel(inputs, keras.layers.Dense(3)(hidden), warmup_steps=steps)
