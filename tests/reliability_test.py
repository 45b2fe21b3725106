"""Invariants for any input: shapes, labels, dtypes, policies, odd latents."""

import threading

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops
from portable import BACKEND, array, tensor
from problems import compile_, make_data, modals_model

from keras_modals import LatentAugmentation, ModalsModel, Policy, operations
from keras_modals._src.labels import of_groups
from keras_modals._src.layers import latent_augmentation
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.layers.step_scope import ONLY, StepScope
from keras_modals._src.rows import RowMap
from keras_modals.operations import DifferenceTransform, HardInterpolation

EVERYTHING = {"triplet_weight": 0.2, "prior_weight": 0.1}
STRONG = Policy.constant(0.8, 0.5)
ALL = Policy.constant(
    0.8,
    0.5,
    (HardInterpolation("margin"), *operations.PAPER_OPERATIONS[1:], "class_mixing"),
    repeats=1,
)

# Deadlines measure the machine. A fixed seed makes failures reproducible.
settings = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)

share = st.floats(0, 1)
hardness = st.sampled_from(["l2", "cosine", "margin", "uniform"])


def has_one_of_a_name(entries):
    names = [operations.get(operation).name for operation in entries]
    return len(set(names)) == len(names)


policies = st.builds(
    lambda entries, counts: Policy(
        entries, operation_counts=np.array(counts) / sum(counts)
    ),
    st.dictionaries(
        st.one_of(
            st.sampled_from(["hard_extrapolation", "gaussian_noise"]),
            st.builds(DifferenceTransform, st.sampled_from(["class", "any"])),
            st.builds(HardInterpolation, hardness, st.floats(0.1, 10)),
        ),
        st.tuples(share, share),
        min_size=1,
    ).filter(has_one_of_a_name),
    st.lists(st.floats(0.1, 1), min_size=2, max_size=4),
)


@st.composite
def cases(draw):
    num_classes = draw(st.integers(2, 200))
    layer = {
        "num_classes": num_classes,
        "policy": draw(policies),
        "memory_size": draw(st.integers(2, 5)),
        "dtype": draw(st.sampled_from(["float32", "mixed_float16", "mixed_bfloat16"])),
    }
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    batch = draw(st.integers(1, 7))
    labels = draw(
        st.lists(st.integers(-3, num_classes + 3), min_size=batch, max_size=batch)
    )
    form = draw(st.sampled_from(["classes", "column", "floats"]))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e3]))
    num_views = draw(st.integers(1, 3))
    rows = RowMap(batch, num_views, num_views > 1 and draw(st.booleans()))
    return layer, rows, shape, np.array(labels), form, scale


def in_form(labels, form):
    return {"classes": labels, "column": labels[:, None], "floats": labels * 1.0}[form]


@settings
@hypothesis.given(cases())
def test_any_batch(case):
    arguments, rows, shape, labels, form, scale = case
    layer = LatentAugmentation(**arguments, seed=0)
    rng = np.random.default_rng(0)
    num_classes = arguments["num_classes"]
    known = (labels >= 0) & (labels < num_classes)
    layer.build((None, *shape))
    steps = 3
    for _ in range(steps):
        latents = rng.normal(size=(len(labels), *shape)) * scale
        latents = tensor(latents, layer.compute_dtype)
        targets = tensor(in_form(labels, form))
        groups = layer.labels.groups(targets)
        mixing = None
        if layer.mixes_classes:
            mixing = StepMixing([layer], of_groups(groups), rows, layer.seed_generator)
        with StepScope(of_groups(groups), rows, mixing, {layer.name: ONLY}) as scope:
            outputs = layer(latents, training=True)
        layer.remember(*scope.recorded(layer, scope.labels.groups)[:2])
        outputs = array(ops.cast(outputs, "float32"))
        assert outputs.shape == (rows.num_views * len(labels), *shape)
        assert np.all(np.isfinite(outputs))
        still = array(ops.cast(layer(latents), "float32"))
        np.testing.assert_array_equal(still, array(ops.cast(latents, "float32")))
    counts = array(layer.memory.counts(np.arange(num_classes, dtype="int32")))
    expected = np.bincount(labels[known], minlength=num_classes) * steps
    np.testing.assert_array_equal(
        counts, np.minimum(expected, arguments["memory_size"])
    )
    for weight in layer.memory.weights:
        assert np.all(np.isfinite(array(weight)))


ODD = {
    "constant": lambda x: 0 * x + 3,
    "zero": lambda x: 0 * x,
    "huge": lambda x: 1e6 * x,
    "tiny": lambda x: 1e-6 * x,
    "one not a number": lambda x: np.where(np.arange(len(x))[:, None] == 5, np.nan, x),
    "one infinite": lambda x: np.where(np.arange(len(x))[:, None] == 5, np.inf, x),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_latents(odd, rng):
    """The added terms and the memory are finite. A sample that is not finite spoils
    only its own rows. Its task loss is up to the user, as in Keras."""
    x, y = make_data(rng, 30)
    x = ODD[odd](x).astype("float32")
    inputs = keras.Input((8,))
    layer = LatentAugmentation(3, ALL)
    outputs = keras.layers.Dense(3, "softmax")(layer(inputs))
    # Compiling would take most of the time. On JAX, not compiling would.
    eager = {"run_eagerly": BACKEND == "tensorflow"}
    model = compile_(ModalsModel(inputs, outputs), **EVERYTHING, **eager)
    weight = 1.0 * np.all(np.isfinite(x), axis=1)
    for _ in range(2):
        logs = model.train_on_batch(x, y, sample_weight=weight, return_dict=True)
    for name in ("triplet_loss", "adversarial_loss", "prior_distance"):
        assert np.isfinite(logs[name]), name
    labels = tensor(y, "int32")
    rows = RowMap(30, 2, True)
    outputs, _ = layer.apply(tensor(x), labels, layer.draw(rows), rows)
    finite = np.all(np.isfinite(array(outputs)), axis=1).reshape(2, 30)
    np.testing.assert_array_equal(finite, np.tile(weight == 1, (2, 1)))
    for variable in layer.memory.weights:
        assert np.all(np.isfinite(array(variable)))
    statistics = layer.memory.statistics(np.arange(3, dtype="int32"))
    assert np.all(np.isfinite(array(statistics.deviation)))


@pytest.mark.backend
@pytest.mark.parametrize("num_classes", [1000, 20_000])
def test_many_classes_in_bounded_memory(num_classes, rng, monkeypatch):
    limit, features, batch = 2**25, 32, 64
    inputs = keras.Input((features,))
    monkeypatch.setattr(latent_augmentation, "MEMORY_LIMIT", limit)
    layer = LatentAugmentation(num_classes, STRONG)
    outputs = keras.layers.Dense(num_classes, "softmax")(layer(inputs))
    model = compile_(ModalsModel(inputs, outputs), "sgd", triplet_weight=0.2)
    size = sum(4 * np.prod(weight.shape) for weight in layer.memory.weights)
    assert size <= limit
    x = rng.normal(size=(4 * batch, features)).astype("float32")
    y = rng.integers(0, num_classes, len(x))
    history = model.fit(x, y, batch_size=batch, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    counts = array(layer.memory.counts(np.arange(num_classes, dtype="int32")))
    expected = np.minimum(
        2 * np.bincount(y, minlength=num_classes), layer.memory.memory_size
    )
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.backend
def test_two_threads_do_not_see_each_others_labels(rng):
    x, _ = make_data(rng, 60)
    labels = [np.full(60, label, "int32") for label in (0, 2)]
    models = [compile_(modals_model(policy=STRONG), **EVERYTHING) for _ in labels]
    barrier = threading.Barrier(2)

    def fit(model, y):
        barrier.wait()
        model.fit(x, y, batch_size=6, epochs=4, verbose=0)

    threads = [
        threading.Thread(target=fit, args=pair, daemon=True)
        for pair in zip(models, labels)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    counts = [
        array(model.latent_augmentation.memory.counts(np.arange(3))).tolist()
        for model in models
    ]
    assert counts == [[100, 0, 0], [0, 0, 100]]
