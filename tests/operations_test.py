import subprocess
import sys
import textwrap
from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest
from portable import array, tensor
from problems import compile_, make_data, modals_model

import keras_modals
from keras_modals import Move, Operation, Policy, SharedEncoderSearch, operations
from keras_modals._src.memory.class_memory import ClassStatistics
from keras_modals._src.tuners.policy_space import policy_from_values, policy_space
from keras_modals.operations import (
    ClassMixing,
    DifferenceTransform,
    Draw,
    GaussianNoise,
    HardExtrapolation,
    HardInterpolation,
)
from keras_modals.tuners import PopulationBasedTuner

ROWS, FEATURES = 5, 3


def test_formulas(rng):
    """Compares the latents from each operation with the paper's formula."""
    latents, mean, deviation, noise = rng.normal(size=(4, ROWS, FEATURES))
    magnitude = rng.uniform(size=(ROWS, 1))
    count = np.arange(ROWS)
    batch = SimpleNamespace(
        statistics=ClassStatistics(*map(tensor, (count, mean, deviation)))
    )
    draw = Draw(None, tensor(noise))
    moved, possible = HardExtrapolation().move(
        tensor(latents), tensor(magnitude), batch, draw
    )
    expected = latents + magnitude * (latents - mean)
    np.testing.assert_allclose(array(moved), expected, rtol=1e-5)
    np.testing.assert_array_equal(array(possible), count >= 1)
    moved, possible = GaussianNoise().move(
        tensor(latents), tensor(magnitude), batch, draw
    )
    expected = latents + magnitude * noise * deviation
    np.testing.assert_allclose(array(moved), expected, rtol=1e-5)
    np.testing.assert_array_equal(array(possible), count >= 2)


def test_the_share_of_a_mixing_is_uniform_up_to_the_magnitude(rng):
    share = ClassMixing().share(tensor(0.5), tensor(rng.uniform(size=4000)))
    latents = tensor(np.zeros((4000, 2))), tensor(np.full((4000, 2), 3.0))
    moved = array(ClassMixing().mix(*latents, share[:, None]))
    share = array(share)
    np.testing.assert_allclose(moved, 3 * np.stack([share, share], axis=1), rtol=1e-6)
    assert share.min() >= 0
    assert share.max() <= 0.5
    assert abs(share.mean() - 0.25) < 4 * 0.5 / np.sqrt(12 * 4000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DifferenceTransform(donors="all"), "donors='all'"),
        (lambda: HardInterpolation(hardness="entropy"), "hardness='entropy'"),
        (lambda: HardInterpolation(temperature=0), "temperature=0"),
        (lambda: operations.get("turn"), "operation='turn'"),
        (lambda: operations.get("gaussian_noise", {"scale": 1}), "scale"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_operation_is_a_plain_value():
    first, second = HardInterpolation("margin"), HardInterpolation(hardness="margin")
    assert first == second
    assert hash(first) == hash(second)
    assert first != HardInterpolation()
    assert GaussianNoise() == GaussianNoise()
    assert GaussianNoise() != HardExtrapolation()
    assert repr(first) == "HardInterpolation(hardness='margin', temperature=1.0)"
    assert first.get_config() == {"hardness": "margin"}
    with pytest.raises(AttributeError):
        first.hardness = "l2"


def test_no_two_operations_of_a_name():
    with pytest.raises(ValueError, match="Received: 'gaussian_noise'"):
        type("Other", (Operation,), {"name": "gaussian_noise"})


# A custom operation ------------------------------------------------------------------


class Shift(Operation):
    """Moves every feature by the magnitude."""

    name = "shift"

    def move(self, latents, magnitude, batch, draw):
        return Move(latents + magnitude)


def shift(magnitude):
    return Policy.single("shift", magnitude)


@pytest.mark.backend
def test_one_of_the_users_own(rng, tmp_path):
    """It works in a policy, a file, a schedule, and after `load_model`."""
    layer = keras_modals.LatentAugmentation(3, shift(0.5), seed=0)
    latents = tensor(rng.normal(size=(4, 6)))
    labels = tensor([0, 1, -1, 2], "int32")
    moved = array(layer(latents, labels=labels, training=True))
    expected = array(latents) + 0.5 * np.array([[1], [1], [0], [1]])
    np.testing.assert_allclose(moved, expected, rtol=1e-6)
    assert layer.memory is None

    shift(0.25).save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == shift(0.25)

    x, y = make_data(rng)
    model = compile_(modals_model(policy=shift(0.5), num_views=2))
    schedule = keras_modals.PolicySchedule([(1, shift(0.1)), (1, shift(0.9))])
    model.fit(
        x, y, epochs=2, verbose=0, callbacks=[keras_modals.PolicyScheduler(schedule)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.latent_augmentation.policy == shift(0.9)
    loaded.fit(x, y, verbose=0)


def test_one_of_the_users_own_is_searched(rng):
    x, y = make_data(rng)
    model = compile_(modals_model(policy=shift(0.5), num_views=2))
    search = SharedEncoderSearch(model, 2, 1, initial="policy", seed=0)
    search.fit(x, y, epochs=2, verbose=0, validation_data=(x, y))
    (segment, *_) = search.best_schedule().segments
    assert segment.policy.by_name == {"shift": Shift()}


def test_one_of_the_users_own_is_searched_on_keras_tuner(tmp_path, rng):
    x, y = make_data(rng)

    def build(hp):
        return compile_(modals_model(policy=policy_space(hp, (Shift(),), repeats=1)))

    tuner = PopulationBasedTuner(
        build,
        population_size=2,
        generations=2,
        epochs_per_generation=1,
        initial="random",
        seed=0,
        directory=str(tmp_path),
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    (segment, *_) = tuner.best_schedule().segments
    assert segment.policy.by_name == {"shift": Shift()}
    best = tuner.best_model().latent_augmentation
    assert best.policy.by_name == {"shift": Shift()}


def test_an_unknown_one_says_what_to_do(tmp_path):
    shift(0.5).save(tmp_path / "policy.json")
    code = """
        import sys, keras_modals
        try:
            keras_modals.Policy.load(sys.argv[1])
        except ValueError as error:
            assert "shift" in str(error) and "class is defined" in str(error), error
        else:
            raise SystemExit("loaded")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "policy.json"]
    subprocess.run(command, check=True)


def test_policies_of_keras_tuner_keep_options():
    hp = keras_tuner.HyperParameters()
    chosen = (DifferenceTransform(donors="class"), "gaussian_noise", Shift())
    policy = policy_space(hp, chosen, repeats=1)
    assert policy.by_name["difference_transform"].donors == "class"
    assert policy_from_values(hp.values) == policy


def test_a_memory_has_one_hardness():
    other = type("Other", (Operation,), {"name": "other", "hardness": "l2"})
    policy = Policy.constant(0.5, 0.5, (HardInterpolation("margin"), other()))
    with pytest.raises(ValueError, match=r"one `hardness`.*l2.*margin"):
        keras_modals.LatentAugmentation(3, policy)
