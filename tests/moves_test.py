import keras
import numpy as np
import pytest
from keras import ops
from portable import array, tensor

from keras_modals import Policy
from keras_modals._src.indices import uniform_index
from keras_modals._src.layers.moves import NO_OPERATION, Moves


def draw(policy, rows=1000, views=1, features=3, seed=0):
    _, probabilities, magnitudes = zip(*policy.sub_policies, strict=True)
    return Moves(policy).draw(
        np.array(probabilities, "float32"),
        np.array(magnitudes, "float32"),
        rows,
        views,
        features,
        keras.random.SeedGenerator(seed),
    )


def simulate_walk(policy, rng):
    """Simulates the paper's description for one sample."""
    order = rng.permutation(len(policy.sub_policies))
    wanted = rng.choice(len(policy.operation_counts), p=policy.operation_counts)
    applied = []
    for index in order:
        if len(applied) == wanted:
            break
        _, probability, _ = policy.sub_policies[index]
        if rng.uniform() < probability:
            applied.append(index)
    return tuple(applied)


@pytest.mark.parametrize(
    "policy",
    [
        Policy.constant(0.5, 0.5),
        Policy(
            {
                "hard_interpolation": [(0.9, 0.1), (0.0, 0.2)],
                "gaussian_noise": (0.3, 0.3),
                "difference_transform": (1.0, 0.4),
            },
            operation_counts=(0.1, 0.3, 0.4, 0.2),
        ),
    ],
    ids=["paper", "uneven"],
)
def test_walk_matches_simulation(policy, rng):
    """Compares the frequencies of all outcomes, within 4.5 standard errors."""
    size = 40_000
    steps = draw(policy, size)
    walks = np.stack([step.sub_policy for step in steps], axis=1)
    drawn = {}
    for walk in walks:
        outcome = tuple(index for index in walk if index != NO_OPERATION)
        assert tuple(walk[: len(outcome)]) == outcome
        drawn[outcome] = drawn.get(outcome, 0) + 1
    simulated = {}
    for _ in range(size):
        outcome = simulate_walk(policy, rng)
        simulated[outcome] = simulated.get(outcome, 0) + 1
    for outcome in drawn.keys() | simulated.keys():
        a, b = drawn.get(outcome, 0), simulated.get(outcome, 0)
        assert abs(a - b) <= 4.5 * np.sqrt(a + b + 1), outcome


def test_magnitudes_follow_the_sub_policy():
    policy = Policy({"gaussian_noise": [(1, 0.25), (1, 0.75)]})
    for step in draw(policy):
        chosen = array(step.sub_policy)
        applied = chosen != NO_OPERATION
        expected = np.where(chosen == 0, 0.25, 0.75)
        np.testing.assert_array_equal(array(step.magnitude)[applied], expected[applied])


def test_probability_zero_never_and_one_always_applies():
    for step in draw(Policy.constant(0.0, 0.5)):
        assert np.all(array(step.sub_policy) == NO_OPERATION)
    policy = Policy({"gaussian_noise": (1, 0.5)}, operation_counts=(0, 1))
    (step,) = draw(policy)
    assert np.all(array(step.sub_policy) == 0)


def test_noise_is_standard_normal_and_independent_within_a_sample():
    size, views, features = 4000, 3, 2
    steps = draw(Policy.constant(0.5, 0.5), size, views, features)
    noise = np.stack(
        [array(step.noise).reshape(views, size, features) for step in steps]
    )
    rows = noise.transpose(2, 0, 1, 3).reshape(size, -1)
    assert np.abs(rows.mean(0)).max() < 4.5 / np.sqrt(size)
    covariance = np.cov(rows.T)
    assert np.abs(covariance - np.eye(len(covariance))).max() < 6.5 / np.sqrt(size)


def test_noise_does_not_repeat_in_a_small_batch():
    steps = draw(Policy.constant(0.5, 0.5), rows=1, views=3)
    noise = np.concatenate([step.noise for step in steps])
    assert len(np.unique(noise[:, 0])) == 6


def test_only_what_operations_take_is_drawn():
    (step,) = draw(Policy({"hard_extrapolation": (1, 1)}, operation_counts=(0, 1)))
    assert step.noise is None
    assert step.uniform["hard_extrapolation"].shape == (1000, 0)
    (step,) = draw(Policy({"difference_transform": (1, 1)}, operation_counts=(0, 1)))
    assert step.uniform["difference_transform"].shape == (1000, 3)


def test_uniform_index_stays_in_range():
    uniform = tensor([0.0, 0.5, 1 - 2**-24, 1 - 2**-24])
    sizes = tensor([3, 4, 50_000, 0], "int32")
    np.testing.assert_array_equal(
        array(uniform_index(uniform, sizes)),
        [0, 2, 49_999, 0],
    )


def test_seeds():
    policy = Policy.constant(0.5, 0.5)
    first, same, other = (
        array(ops.stack([s.sub_policy for s in draw(policy, seed=seed)]))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
