import numpy as np
import pytest

from keras_modals.labels import IGNORED, check_label_array, class_indices

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
    indices = class_indices(labels, 3)
    assert indices.shape == (4,)
    assert np.asarray(indices).dtype == "int32"
    np.testing.assert_array_equal(indices, INDICES)
    check_label_array(labels, 3)


@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
def test_binary(dtype):
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    np.testing.assert_array_equal(class_indices(labels, 2), [0, 1, 1, 0])
    np.testing.assert_array_equal(class_indices(labels[:, None], 2), [0, 1, 1, 0])
    check_label_array(labels, 2)


def test_what_is_no_class_is_ignored():
    labels = np.array([0.0, -1.0, 3.0, 0.5, np.nan, np.inf, 2.0])
    np.testing.assert_array_equal(class_indices(labels, 3), [0] + [IGNORED] * 5 + [2])
    rows = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1.0]])
    np.testing.assert_array_equal(class_indices(rows, 3), [0, IGNORED, IGNORED, 2])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3]), "a label of 3"),
        (np.array([0, -1]), "a label of -1"),
        (np.array([0.5, 1.0]), "Regression targets .* a label of 0.5"),
        (np.array([np.nan, 1.0]), "finite"),
        (np.array([[1, 1, 0], [0, 0, 1]]), "Several labels .* row 0"),
        (np.zeros((4, 2)), r"shape \(4, 2\)"),
        (np.zeros((4, 3, 3)), r"shape \(4, 3, 3\)"),
        (np.array(["cat", "dog"]), "StringLookup"),
    ],
)
def test_refuses_arrays(labels, message):
    with pytest.raises(ValueError, match=message):
        check_label_array(labels, 3)


def test_refuses_shapes_in_a_stream():
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        class_indices(np.zeros((4, 2)), 3)
