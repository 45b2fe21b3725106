"""Tests random kinds of targets, shapes, masks, policies and terms.

A step has a finite loss and finite weights, or raises an error of one sentence.
`python tests/random_kinds_test.py` tries 500 cases. The tests try some of them.
"""

import sys

import keras
import numpy as np
import pytest
from portable import BACKEND, array

import keras_modals
from keras_modals import Classes, MultiLabels, Policy, Positions, Values, operations

L = keras.layers

CASES, IN_TESTS = 500, 5 if BACKEND == "jax" else 20


def of_classes(rng, shape, width):
    y = rng.integers(0, width, shape)
    y[rng.random(shape) < rng.choice([0.0, 0.3, 1.0], p=[0.5, 0.4, 0.1])] = -1
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    return Classes(width), "softmax", loss, y


def of_one_hot(rng, shape, width):
    y = np.eye(width, dtype="float32")[rng.integers(0, width, shape)]
    return Classes(width), "softmax", "categorical_crossentropy", y


def of_several(rng, shape, width):
    y = (rng.random((*shape, width)) < rng.choice([0.0, 0.3, 1.0])).astype("float32")
    return MultiLabels(width), "sigmoid", "binary_crossentropy", y


def of_values(rng, shape, width):
    scale = rng.choice([0.0, 1.0, 1e4])
    y = (scale * rng.normal(size=(*shape, width))).astype("float32")
    return Values(int(rng.integers(2, 12))), None, rng.choice(["mse", "huber"]), y


def policy_of(rng):
    names = rng.permutation(operations.names())[: rng.integers(1, 6)].tolist()
    names = [name for name in names if name in ALL]
    if not names or rng.random() < 0.3:
        partners = rng.choice(["any", "balanced", "near"], p=[0.6, 0.2, 0.2])
        names = [operations.ClassMixing(partners=str(partners), bandwidth=0.5)]
    counts = (0.0, 0.5, 0.5) if rng.random() < 0.5 else (0.0, 1.0)
    values = {name: tuple(rng.choice([0.0, 0.5, 1.0], 2).tolist()) for name in names}
    return Policy(values, operation_counts=counts)


#: The operations of the package. Other tests define their own operations.
ALL = (*operations.PAPER_OPERATIONS, "class_mixing")


def case(seed):
    """Returns a compiled model and its data."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    batch, width = int(rng.integers(1, 10)), int(rng.integers(2, 6))
    axes = tuple(rng.integers(1, 6, rng.integers(0, 3)).tolist())
    kind = KINDS[rng.integers(len(KINDS))]
    if kind is of_classes and BACKEND == "torch" and len(axes) == 2:
        # On PyTorch, Keras's sparse loss has no gradient for pixels.
        kind = of_one_hot
    labels, activation, loss, y = kind(rng, (batch, *axes), width)
    if axes and kind is not of_values:
        labels = Positions(labels)
    x = rng.normal(size=(batch, *axes, 3)).astype("float32")
    known = [None if rng.random() < 0.3 else size for size in axes]
    inputs = keras.Input((*known, 3))
    hidden = inputs
    if len(axes) == 1 and rng.random() < 0.6:
        x[rng.random((batch, *axes)) < 0.4] = 0.0
        hidden = L.Masking()(hidden)
        if rng.random() < 0.5:
            hidden = L.SimpleRNN(4, return_sequences=True)(hidden)
    places = []
    for _ in range(rng.integers(1, 3)):
        hidden = L.Dense(4, "tanh")(hidden)
        places.append(hidden)
    model = keras.Model(inputs, L.Dense(width, activation)(hidden))
    names = [place._keras_history.operation.name for place in places]
    model = keras_modals.augment(
        model,
        names if rng.random() < 0.7 else "auto",
        labels=labels,
        policy=policy_of(rng),
        num_views=int(rng.choice([1, 1, 2])),
        warmup_steps=0,
        seed=seed,
    )
    terms = {}
    if rng.random() < 0.3:
        terms["triplet_weight"] = 0.2
    if rng.random() < 0.2:
        terms["prior_weight"] = 0.01
    model.compile("sgd", str(loss) if loss in ("mse", "huber") else loss, **terms)
    model.run_eagerly = BACKEND != "jax"
    weights = None
    if rng.random() < 0.3 and not axes:
        weights = rng.choice([0.0, 1.0, 2.0], batch).astype("float32")
    return model, (x, y, weights)


KINDS = (of_classes, of_one_hot, of_several, of_values)


def outcome(seed):
    """Returns the outcome of a case: `"trains"` or its error message."""
    try:
        model, (x, y, weights) = case(seed)
        for _ in range(2):
            logs = model.train_on_batch(x, y, weights, return_dict=True)
    except ValueError as error:
        message = str(error)
        assert "Received:" in message, message
        assert len(message.splitlines()) == 1, message
        return message
    # With a loss in the thousands, steps of this size may diverge.
    if np.abs(y).max() < 100:
        for name, value in logs.items():
            assert np.isfinite(float(value)), name
        for weight in model.trainable_variables:
            assert np.all(np.isfinite(array(weight))), weight.path
    return "trains"


@pytest.mark.backend
@pytest.mark.parametrize("seed", range(IN_TESTS))
def test_it_trains_or_is_refused(seed):
    outcome(seed)


if __name__ == "__main__":
    counts: dict[str, int] = {}
    for number in range(CASES):
        try:
            found = outcome(number)
        except Exception as error:
            found = f"FAILED, {type(error).__name__}: {str(error)[:200]}"
            print(number, found, flush=True)
        found = found.partition(" Received")[0]
        counts[found] = counts.get(found, 0) + 1
    for found, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        print(count, found)
    sys.exit(any(found.startswith("FAILED") for found in counts))
