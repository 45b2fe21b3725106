import functools
import os
import pathlib

import numpy as np
import pytest
from portable import BACKEND, array, compiled, tensor

from keras_modals._src.labels import IGNORED
from keras_modals._src.memory.class_memory import (
    LARGEST_LATENT,
    ClassMemory,
    _group_by_class,
    _Groups,
    memory_bytes,
)


class Reference:
    """A plain list per class."""

    def __init__(self, num_classes, memory_size):
        self.size = memory_size
        self.rows = {label: [] for label in range(num_classes)}

    def update(self, latents, labels, hardness):
        for row, label, hard in zip(latents, labels, hardness, strict=True):
            if label != IGNORED and np.all(np.abs(row) < LARGEST_LATENT):
                self.rows[label] = [*self.rows[label], (row, hard)][-self.size :]


def built(num_classes, memory_size, features):
    memory = ClassMemory(num_classes, memory_size)
    memory.build((None, features))
    return memory


@functools.cache
def compiled_update(memory):
    return compiled(memory.update, memory.weights, jit_compile=True)


def assert_same(memory, reference, rtol=1e-4):
    for label, rows in reference.rows.items():
        labels = np.array([label], "int32")
        statistics = memory.statistics(labels)
        assert int(statistics.count[0]) == len(rows) == int(memory.counts(labels)[0])
        if not rows:
            assert not np.any(array(statistics.mean))
            assert not np.any(array(statistics.deviation))
            continue
        latents = np.array([row for row, _ in rows], "float64")
        scale = latents.std(0).max() + np.abs(latents).max() * 1e-3
        np.testing.assert_allclose(
            statistics.mean[0], latents.mean(0), atol=rtol * scale
        )
        np.testing.assert_allclose(
            statistics.deviation[0], latents.std(0), atol=rtol * scale
        )
        slots = np.arange(len(rows))
        held = memory.take_latents(np.repeat(labels, len(rows)), slots)
        hardness = memory.take_hardness(np.repeat(labels, len(rows)), slots)
        pairs = sorted(zip(array(hardness).tolist(), array(held).tolist()))
        expected = sorted((hard, row.tolist()) for row, hard in rows)
        assert pairs == expected


def run(memory, reference, rng, steps, batch, scale, shift=lambda step: 0.0):
    update = compiled_update(memory)
    features = memory.latents.shape[1]
    for step in range(steps):
        latents = rng.normal(size=(batch, features)) * scale(step) + shift(step)
        latents = latents.astype("float32")
        labels = rng.integers(-1, memory.num_classes, batch).astype("int32")
        hardness = rng.normal(size=batch).astype("float32")
        update(latents, labels, hardness)
        reference.update(latents, labels, hardness)


def resident_bytes():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_matches_numpy_after_many_updates(rng):
    """Process memory does not grow, either: a step must not leak 1 kB."""
    memory, reference = built(5, 20, 4), Reference(5, 20)
    # On other backends, steps are slow in tests.
    steps = 20_000 if BACKEND == "tensorflow" else 1000
    sizes = []
    for _ in range(2):
        run(memory, reference, rng, steps // 2, 6, lambda t: 1.0, lambda t: t / steps)
        sizes.append(resident_bytes())
    assert sizes[1] - sizes[0] < 1024 * 10_000
    assert_same(memory, reference)


def test_matches_numpy_while_latents_drift_and_collapse(rng):
    memory, reference = built(3, 30, 4), Reference(3, 30)
    run(memory, reference, rng, 1500, 8, lambda t: 10.0 ** -(t / 500), lambda t: t / 50)
    assert_same(memory, reference)


def test_matches_numpy_at_every_stage(rng):
    """Covers a memory that is empty, partly filled, just full, in its first lap, at the
    end of it, and after it."""
    memory, reference = built(3, 7, 2), Reference(3, 7)
    for _ in range(40):
        run(memory, reference, rng, 1, 3, lambda step: 1.0)
        assert_same(memory, reference)


def test_more_samples_of_a_class_than_it_remembers(rng):
    memory, reference = built(2, 4, 3), Reference(2, 4)
    for _ in range(5):
        run(memory, reference, rng, 1, 32, lambda step: 1.0)
        assert_same(memory, reference)


def one_outlier(latents, size):
    latents[2, 5] = size


def first_sample(latents, size):
    latents[0, 0] = -size


def several_outliers(latents, size):
    """The smaller outliers stay in the memory after the largest has left."""
    for index, part in enumerate((1.0, 1e-4, -1e-2, 1e-5)):
        latents[1 + index, index] = part * size


def whole_batch(latents, size):
    latents[2] *= size


def beside_what_is_not_finite(latents, size):
    latents[2, 1], latents[2, 2, 0], latents[2, 3, 1] = np.nan, np.inf, -1e30
    latents[2, 5] = size


def assert_right_at_every_step(latents, labels, memory_size, num_classes, rtol):
    """Checks the deviation, and the mean in units of it, after each batch."""
    memory = built(num_classes, memory_size, latents.shape[-1])
    reference = Reference(num_classes, memory_size)
    update = compiled_update(memory)
    classes = np.arange(num_classes, dtype="int32")
    for batch, batch_labels in zip(latents.astype("float32"), labels, strict=True):
        update(batch, batch_labels, np.zeros(len(batch), "float32"))
        reference.update(batch, batch_labels, np.zeros(len(batch)))
        statistics = memory.statistics(tensor(classes, "int32"))
        means, deviations = array(statistics.mean), array(statistics.deviation)
        for label, rows in reference.rows.items():
            if len(rows) > 2:
                held = np.array([row for row, _ in rows], "float64")
                scale = held.std(0)
                # A mean cannot be more accurate than the spacing of float32.
                near = np.spacing(np.abs(held.mean(0)).astype("float32"))
                error = np.abs(means[label] - held.mean(0)) - near
                assert np.max(error / scale) < rtol
                np.testing.assert_allclose(deviations[label], scale, rtol=rtol)


# An outlier of `size` deviations that comes and leaves changes the sum of squares,
# about 20 here, by at most 2**-54 of its square. If all rounding went one way, the
# error of the deviation would be 1.4e-6 at 1e6, and 1.4% at 1e8. Actual errors are a
# tenth of that.
@pytest.mark.backend
@pytest.mark.parametrize(("size", "rtol"), [(1e6, 1e-5), (1e8, 0.01)])
@pytest.mark.parametrize(
    "place",
    [
        one_outlier,
        first_sample,
        several_outliers,
        whole_batch,
        beside_what_is_not_finite,
    ],
)
def test_forgets_outliers_as_they_leave(place, size, rtol, rng):
    latents = rng.normal(size=(12, 8, 3))
    place(latents, size)
    labels = np.zeros((12, 8), "int32")
    assert_right_at_every_step(latents, labels, 20, 2, rtol)


@pytest.mark.backend
@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_forgets_outliers_at_any_scale(scale, rng):
    latents = rng.normal(size=(12, 8, 3)) * scale
    one_outlier(latents, 1e6 * scale)
    labels = np.zeros((12, 8), "int32")
    assert_right_at_every_step(latents, labels, 20, 2, 1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("mean", [1e5, 1e6])
def test_forgets_outliers_around_a_large_mean(mean, rng):
    """The raw sum of squares is up to 1e12 times the one around the mean."""
    latents = rng.normal(size=(12, 8, 3)) + mean
    one_outlier(latents, 1e6)
    labels = np.zeros((12, 8), "int32")
    assert_right_at_every_step(latents, labels, 20, 2, 0.01)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("num_classes", "memory_size", "batch"), [(3, 15, 20), (3, 5, 64), (150, 3, 40)]
)
def test_forgets_outliers_in_ragged_batches(num_classes, memory_size, batch, rng):
    """Covers few and many classes, and more samples of one than the memory holds."""
    latents = rng.normal(size=(20, batch, 2))
    latents[3, batch // 2] = latents[4, 0] = 1e6
    # Some classes have many samples, others few.
    labels = num_classes * rng.random((20, batch)) ** 3
    labels = labels.astype("int32")
    # Three latents may be close to each other, which makes their deviation small.
    assert_right_at_every_step(latents, labels, memory_size, num_classes, 0.01)


@pytest.mark.parametrize("value", [1e6, -3.0, 1e-6])
def test_constant_latents_have_no_deviation(value):
    memory = built(2, 5, 3)
    latents = np.full((4, 3), value, "float32")
    labels = tensor([0, 0, 1, 0], "int32")
    for _ in range(7):
        memory.update(tensor(latents), labels, tensor(np.zeros(4)))
    statistics = memory.statistics(np.array([0, 1], "int32"))
    np.testing.assert_array_equal(statistics.mean, latents[:2])
    np.testing.assert_array_equal(statistics.deviation, np.zeros((2, 3)))


@pytest.mark.backend
def test_what_must_not_enter_does_not(rng):
    memory = built(2, 5, 3)
    latents = rng.normal(size=(5, 3)).astype("float32")
    latents[1, 0], latents[2, 1], latents[3, 2] = np.nan, np.inf, -1e30
    labels = np.array([0, 0, 0, 0, IGNORED], "int32")
    memory.update(tensor(latents), tensor(labels, "int32"), tensor(np.arange(5)))
    counts = memory.counts(np.array([0, 1, IGNORED], "int32"))
    np.testing.assert_array_equal(array(counts), [1, 0, 0])
    for variable in memory.weights:
        assert np.all(np.isfinite(array(variable)))
    np.testing.assert_array_equal(
        array(memory.statistics(np.array([0], "int32")).mean[0]), latents[0]
    )


@pytest.mark.parametrize("num_rows", [9, 1000])
def test_group_by_class(num_rows, rng):
    rows = rng.integers(0, 9, 50).astype("int32")
    group = compiled(lambda rows: _group_by_class(rows, num_rows), jit_compile=True)
    groups = _Groups(*map(array, group(rows)))
    for index, row in enumerate(rows):
        group = groups.of_sample[index]
        assert groups.rows[group] == row
        assert groups.rank[index] == np.sum(rows[:index] == row)
        assert groups.total[group] == np.sum(rows == row)
    # All other groups are empty, and groups without a class use the scratch row.
    assert np.sum(groups.total) == len(rows)
    assert np.all((groups.total > 0) | (groups.rows == num_rows - 1) | (num_rows < 128))


@pytest.mark.backend
def test_group_by_class_of_very_many(rng):
    """The number of classes times the number of samples overflows an int32."""
    num_rows, batch = 20_001, 110_000
    rows = rng.integers(0, num_rows, batch).astype("int32")
    rows[-3:] = num_rows - 1
    groups = _Groups(*map(array, _group_by_class(tensor(rows, "int32"), num_rows)))
    np.testing.assert_array_equal(groups.rows[groups.of_sample], rows)
    totals = np.bincount(rows, minlength=num_rows)
    np.testing.assert_array_equal(groups.total[groups.of_sample], totals[rows])
    order = np.argsort(rows, kind="stable")
    starts = np.cumsum(totals) - totals
    ranks = np.arange(batch) - starts[rows[order]]
    np.testing.assert_array_equal(groups.rank[order], ranks)


@pytest.mark.parametrize("num_classes", [7, 200])
def test_memory_bytes(num_classes):
    memory = built(num_classes, 5, 3)
    fixed, per_latent = memory_bytes(num_classes, 3)
    size = sum(4 * np.prod(weight.shape) for weight in memory.weights)
    assert size == fixed + 5 * per_latent


def test_state_is_float32_under_mixed_precision():
    memory = ClassMemory(2, 5, dtype="mixed_float16")
    memory.build((None, 3))
    dtypes = {weight.name: weight.dtype for weight in memory.weights}
    assert dtypes == {
        "latents": "float32",
        "hardness": "float32",
        "means_and_deviations": "float32",
        "moments": "float32",
        "counters": "int32",
    }


@pytest.mark.backend
@pytest.mark.parametrize("number", [-(2**31), -1, 2**31 - 1])
def test_counters_that_are_not_its_own_make_no_index_out_of_range(number):
    memory = built(2, 5, 3)
    memory.counters.assign(np.full(memory.counters.shape, number, "int32"))
    counts = array(memory.counts(np.array([0, 1], "int32")))
    np.testing.assert_array_equal(counts, [5 if number > 0 else 0] * 2)
