import keras
import numpy as np
import pytest
from keras import ops

from keras_modals import LatentAugmentation, TripletSelector
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.splits import make_loader
from keras_modals._src.evaluation.trial import Trial
from keras_modals._src.labels import IGNORED, Classes
from keras_modals._src.labels.labels import SAMPLES, STEPS, WITHOUT_LABEL, WRONG

CLASSES = Classes(3)
KIND = kind_of(CLASSES, (None, 3))
INDICES = np.array([2, 0, 1, 2])


@pytest.mark.parametrize(
    "labels",
    [
        INDICES,
        INDICES[:, None],
        INDICES.astype("float32"),
        INDICES.astype("uint8"),
        INDICES.astype("int64")[:, None],
        np.eye(3)[INDICES],
        np.eye(3, dtype="int32")[INDICES],
        np.eye(3, dtype="bool")[INDICES],
        0.9 * np.eye(3)[INDICES] + 0.1 / 3,
    ],
    ids=lambda labels: f"{labels.dtype}{labels.shape}",
)
def test_forms(labels):
    indices = CLASSES.groups(labels)
    assert indices.shape == (4,)
    assert np.asarray(indices).dtype == "int32"
    np.testing.assert_array_equal(indices, INDICES)
    CLASSES.check(labels)


@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
def test_binary(dtype):
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    np.testing.assert_array_equal(Classes(2).groups(labels), [0, 1, 1, 0])
    np.testing.assert_array_equal(Classes(2).groups(labels[:, None]), [0, 1, 1, 0])
    Classes(2).check(labels)


def test_what_is_no_class_is_ignored():
    labels = np.array([0.0, -1.0, 3.0, 0.5, np.nan, np.inf, 2.0])
    np.testing.assert_array_equal(CLASSES.groups(labels), [0] + [IGNORED] * 5 + [2])
    rows = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1.0]])
    np.testing.assert_array_equal(CLASSES.groups(rows), [0, IGNORED, IGNORED, 2])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3]), "a label of 3"),
        (np.array([0, -1]), "a label of -1"),
        (np.array([0.5, 1.0]), r"a regression pass .*Values\(\).* a label of 0\.5"),
        (np.array([np.nan, 1.0]), "finite"),
        (np.array([[1, 1, 0], [0, 0, 1]]), r"MultiLabels\(3\).* row 0"),
        (np.zeros((4, 2)), r"shape \(4, 2\)"),
        (np.zeros((4, 3, 3)), r"shape \(4, 3, 3\)"),
        (np.array(["cat", "dog"]), "np.unique"),
    ],
)
def test_refuses_arrays(labels, message):
    with pytest.raises(ValueError, match=message):
        CLASSES.check(labels)


def test_refuses_shapes_in_a_stream():
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        CLASSES.groups(np.zeros((4, 2)))


# All readers ------------------------------------------------------------------

ROWS = np.array(
    [
        [0.0, 0.6, 0.4],
        [0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0],
        [0.0, 0.0, 1.0],
        [0.8, 0.1, 0.1],
    ]
)
ROW_GROUPS = [1, IGNORED, IGNORED, 2, 0]


def selects_by(targets, groups):
    """Checks that the triplet loss interprets targets as these groups."""
    embeddings = np.random.default_rng(0).normal(size=(len(groups), 4))
    loss = TripletSelector(mining="all")
    np.testing.assert_array_equal(
        loss(targets, embeddings), loss(np.array(groups, "int32"), embeddings)
    )


def test_all_readers_agree_on_soft_rows_and_rows_of_another_sum():
    np.testing.assert_array_equal(CLASSES.groups(ROWS), ROW_GROUPS)
    selects_by(ROWS, ROW_GROUPS)
    labels, counts = CLASSES.read(ROWS)
    np.testing.assert_array_equal(labels.groups, ROW_GROUPS)
    expected = {SAMPLES: 5, WITHOUT_LABEL: 2, WRONG: 2, STEPS: 1}
    np.testing.assert_array_equal(counts, [expected[i] for i in range(4)])
    errors = CLASSES.errors(ROWS, np.eye(3)[[1, 0, 0, 2, 1]])
    np.testing.assert_array_equal(errors, [0, 1, 1, 0, 1])
    trial = Trial((None, ROWS), (None, ROWS), KIND, seed=0, epochs=1, batch_size=1)
    np.testing.assert_array_equal(trial.labels, ROW_GROUPS)
    np.testing.assert_allclose(trial.classes.shares(ROWS), ROWS, rtol=1e-6)
    for reader in (
        CLASSES.check,
        lambda rows: make_loader((ROWS, rows), (0.2, 0.2), KIND),
    ):
        with pytest.raises(ValueError, match=r"row 1 is \[0. 0. 0.\]"):
            reader(ROWS)


@pytest.mark.parametrize("dtype", ["int64", "float32", "uint16"])
def test_all_readers_agree_on_many_classes_in_half_precision(dtype):
    groups = np.array([255, 256, 257, 258, 257, 999])
    targets = groups.astype(dtype)
    classes = Classes(1000)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        np.testing.assert_array_equal(classes.groups(targets), groups)
        selects_by(targets, groups)
        errors = classes.errors(targets, np.eye(1000)[groups])
        np.testing.assert_array_equal(errors, np.zeros(6))
        layer = LatentAugmentation(1000)
        np.testing.assert_array_equal(layer.labels.groups(targets), groups)
    finally:
        keras.config.set_dtype_policy("float32")
    kind = kind_of(classes, (None, 1000))
    trial = Trial((None, targets), (None, targets), kind, 0, 1, 1)
    np.testing.assert_array_equal(trial.labels, groups)
    assert Classes.of_arrays(targets).num_classes == 1000


def test_groups_in_the_form_of_targets():
    np.testing.assert_array_equal(
        CLASSES.like(INDICES, INDICES[:1, None]).shape, (4, 1)
    )
    np.testing.assert_array_equal(CLASSES.like(INDICES, np.eye(3)), np.eye(3)[INDICES])


def test_what_a_head_says():
    outputs = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    errors = CLASSES.errors(np.array([1, 1]), ops.array(outputs))
    np.testing.assert_array_equal(errors, [0, 1])
    of_second = np.array([[0.2], [0.9]])
    errors = Classes(2).errors(np.array([1, 1]), ops.array(of_second))
    np.testing.assert_array_equal(errors, [1, 0])
    np.testing.assert_allclose(
        Classes(2).probabilities(of_second), [[0.8, 0.2], [0.1, 0.9]], rtol=1e-6
    )
    logits = np.log(outputs) + 3.0
    probabilities = CLASSES.probabilities(logits, from_logits=True)
    np.testing.assert_allclose(probabilities, outputs, rtol=1e-5)
