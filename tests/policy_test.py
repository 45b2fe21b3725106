import json

import keras
import pytest

from keras_modals import Policy


def test_single_is_one_operation_on_every_sample():
    policy = Policy.single("gaussian_noise", 0.3)
    assert policy.sub_policies == (("gaussian_noise", 1.0, 0.3),)
    assert policy.operation_counts == (0.0, 1.0)


def test_sub_policies_follow_the_order_of_operations():
    policy = Policy(
        {
            "difference_transform": (0.5, 0.7),
            "hard_interpolation": [(0.1, 0.2), (0.3, 0.4)],
        }
    )
    assert policy.sub_policies == (
        ("hard_interpolation", 0.1, 0.2),
        ("hard_interpolation", 0.3, 0.4),
        ("difference_transform", 0.5, 0.7),
    )
    assert policy.operation_counts == (0.2, 0.7, 0.1)


def test_is_a_value():
    policy = Policy({"gaussian_noise": (0.5, 0.7)})
    assert policy == Policy({"gaussian_noise": [(0.5, 0.7)]})
    assert hash(policy) == hash(Policy({"gaussian_noise": [(0.5, 0.7)]}))
    assert policy != Policy({"gaussian_noise": (0.5, 0.6)})
    assert policy != Policy({"gaussian_noise": (0.5, 0.7)}, operation_counts=(0, 1))
    with pytest.raises(AttributeError):
        policy.sub_policies = ()
    assert eval(repr(policy)) == policy


def test_config_round_trip():
    policy = Policy.random(3)
    config = json.loads(json.dumps(policy.get_config()))
    assert Policy.from_config(config) == policy
    serialized = keras.saving.serialize_keras_object(policy)
    assert keras.saving.deserialize_keras_object(serialized) == policy


def test_constructors():
    assert len(Policy.zero().sub_policies) == 8
    assert {p for _, p, m in Policy.zero().sub_policies for p in (p, m)} == {0.0}
    assert {p for _, p, m in Policy.constant(0.5, 0.5).sub_policies} == {0.5}
    assert Policy.random(1) == Policy.random(1)
    assert Policy.random(1) != Policy.random(2)
    levels = {
        level
        for seed in range(20)
        for _, *pair in Policy.random(seed).sub_policies
        for level in pair
    }
    assert levels == {n / 10 for n in range(11)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operations": {}}, "non-empty mapping"),
        ({"operations": [("gaussian_noise", 0.5, 0.5)]}, "non-empty mapping"),
        ({"operations": {"rotation": (0.5, 0.5)}}, "operation='rotation'"),
        ({"operations": {"gaussian_noise": 0.5}}, "gaussian_noise=0.5"),
        ({"operations": {"gaussian_noise": []}}, r"gaussian_noise=\[\]"),
        ({"operations": {"gaussian_noise": (1.5, 0.5)}}, "probability=1.5"),
        ({"operations": {"gaussian_noise": (0.5, -0.1)}}, "magnitude=-0.1"),
        ({"operations": {"gaussian_noise": (0.5, float("nan"))}}, "magnitude=nan"),
        ({"operations": {"gaussian_noise": (True, 0.5)}}, "gaussian_noise=.True, 0.5"),
        ({"operations": {"gaussian_noise": (10**5000, 0.5)}}, "probability=<int>"),
        ({"operations": {"gaussian_noise": ["a"] * 1000}}, r"gaussian_noise=.*\.\.\.$"),
        (
            {
                "operations": {"gaussian_noise": (0, 0)},
                "operation_counts": (10**400, 1),
            },
            "sum to 1",
        ),
        (
            {"operations": {"gaussian_noise": (0, 0)}, "operation_counts": (0.5, 0.2)},
            "sum to 1",
        ),
        (
            {"operations": {"gaussian_noise": (0, 0)}, "operation_counts": (1.0,)},
            "at least two",
        ),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Policy(**arguments)


def test_a_policy_in_one_line():
    policy = Policy({"gaussian_noise": (0.5, 0.25), "hard_extrapolation": (1, 0)})
    assert str(policy) == "gaussian_noise 0.5x0.25"
    assert str(Policy.zero()) == "no augmentation"
