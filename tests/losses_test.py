"""How views and mixed labels reach a loss."""

import types

import keras
import numpy as np
import pytest
from keras import ops
from portable import array, tensor

from keras_modals._src.rows import RowMap
from keras_modals._src.training.losses import OF_BATCH, WITH_STATE, LossKinds
from keras_modals._src.training.outputs import Outputs, StepData
from keras_modals._src.training.passes import loss_passes, metric_data

pytestmark = pytest.mark.backend

CLASSES, BATCH = 3, 4
LABELS = np.array([0, 1, 2, 1], "int32")
ONE_HOT = np.eye(CLASSES, dtype="float32")[LABELS]
PARTNER = np.array([1, 2, 2, 0])
#: The third sample is not mixed.
SHARE = np.array([0.25, 0.5, 0.0, 1.0], "float32")
PREDICTIONS = np.array(
    [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]], "float32"
)
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0], "float32")


class OwnCall(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return ops.mean(keras.losses.categorical_crossentropy(y_true, y_pred))


class Averaging(keras.losses.Loss):
    """A loss with a state that changes with each call."""

    def __init__(self):
        super().__init__()
        self.level = keras.Variable(0.0, trainable=False)

    def call(self, y_true, y_pred):
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
        self.level.assign(0.9 * self.level + 0.1 * ops.mean(losses))
        return losses


def sparse(**arguments):
    return keras.losses.SparseCategoricalCrossentropy(**arguments)


def model_with(loss):
    """Returns the attributes of a model that the functions use."""
    model = types.new_class("Model", (keras.Model,))()
    model.compile("sgd", loss)
    outputs = Outputs(["kind"], "kind", ["kind"])
    outputs.compile(loss)
    return types.SimpleNamespace(
        loss=loss,
        output_map=outputs,
        loss_kinds=_Kinds(),
        compute_loss=model.compute_loss,
    )


class _Kinds(LossKinds):
    def of_output(self, model, name, target, prediction):
        return self.of_loss(model.loss, target, prediction)


def data_of(model, y, predictions, weights):
    """Returns the `StepData` of one output."""
    y, predictions = tensor(y, y.dtype.name), tensor(predictions)
    weights = None if weights is None else tensor(weights)
    return StepData(model.output_map, {"kind": y}, y, predictions, weights)


def mixed_targets(num_views=1):
    partner = tensor(np.tile(PARTNER, num_views), "int32")
    share = np.concatenate([SHARE] * num_views)
    return RowMap(BATCH, num_views, partner=partner, share=tensor(share))


def loss_of(loss, targets, y, weights=None, views=1):
    """Returns the loss of the predictions of some views, as in a train step."""
    model = model_with(loss)
    data = data_of(model, y, np.concatenate([PREDICTIONS] * views), weights)
    passes = loss_passes(model, targets, data, keras.random.SeedGenerator(0))
    assert sum(float(weight) for weight, _ in passes) == pytest.approx(1.0)
    return sum(
        float(weight) * np.mean(array(model.compute_loss(None, *arguments)))
        for weight, arguments in passes
    )


def crossentropy(labels):
    return -np.log(PREDICTIONS[np.arange(BATCH), labels])


def mixed(values, partner_values):
    return (1 - SHARE) * values + SHARE * partner_values


EXPECTED = mixed(crossentropy(LABELS), crossentropy(LABELS[PARTNER]))
SOFT = ONE_HOT + SHARE[:, None] * (ONE_HOT[PARTNER] - ONE_HOT)


@pytest.mark.parametrize(
    ("loss", "y", "kind"),
    [
        (sparse(), LABELS, (True, True, 1)),
        ("sparse_categorical_crossentropy", LABELS, (True, True, 1)),
        ("crossentropy", LABELS, (True, True, 1)),
        (sparse(reduction="mean"), LABELS, (True, True, 1)),
        (sparse(reduction="sum"), LABELS, (False, True, 1)),
        (sparse(reduction=None), LABELS, (False, True, 1)),
        (sparse(reduction="mean_with_sample_weight"), LABELS, (False, False, 1)),
        # Custom losses may compare rows with each other.
        (lambda y, p: -y * ops.log(p), ONE_HOT, (False, True, 2)),
        (keras.losses.Circle(), LABELS, (False, True, 1)),
        (Averaging(), LABELS, WITH_STATE),
        (lambda y, p: ops.mean(y * p), ONE_HOT, OF_BATCH),
        (lambda y, p: ops.mean(y * p, axis=0), ONE_HOT, OF_BATCH),
        (keras.losses.Dice(), ONE_HOT, OF_BATCH),
        (keras.losses.Tversky(), ONE_HOT, OF_BATCH),
        (OwnCall(), ONE_HOT, OF_BATCH),
        (lambda y, p: ops.sum(ops.reshape(y * p, (BATCH, -1)), 1), ONE_HOT, OF_BATCH),
    ],
)
def test_kinds(loss, y, kind):
    assert LossKinds().of_loss(loss, y, PREDICTIONS)[:3] == kind[:3]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        (sparse(), LABELS, EXPECTED.mean()),
        (sparse(reduction="sum"), LABELS, EXPECTED.sum()),
        ("categorical_crossentropy", ONE_HOT, EXPECTED.mean()),
        (
            lambda y, p: -y * ops.log(p),
            ONE_HOT,
            EXPECTED.mean() / CLASSES,
        ),
        # The targets themselves are mixed.
        (lambda y, p: ops.mean(y * p), ONE_HOT, np.mean(SOFT * PREDICTIONS)),
        (lambda y, p: ops.sum(y * p), ONE_HOT, np.sum(SOFT * PREDICTIONS)),
        (
            keras.losses.Dice(),
            ONE_HOT,
            1 - 2 * np.sum(SOFT * PREDICTIONS) / (SOFT.sum() + PREDICTIONS.sum()),
        ),
        (OwnCall(), ONE_HOT, EXPECTED.mean()),
    ],
)
def test_a_mixed_row_counts_for_both_labels(loss, y, expected, views):
    found = loss_of(loss, mixed_targets(views), y, views=views)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_are_each_samples_own():
    own, partner = crossentropy(LABELS), crossentropy(LABELS[PARTNER])
    expected = mixed(WEIGHTS * own, WEIGHTS[PARTNER] * partner)
    found = loss_of(sparse(), mixed_targets(), LABELS, WEIGHTS)
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)


def test_where_a_loss_takes_class_indices_only_one_of_both_is_drawn_by_share():
    def loss(y, p):
        return ops.mean(keras.losses.sparse_categorical_crossentropy(y, p))

    model, seed = model_with(loss), keras.random.SeedGenerator(3)
    drawn = []
    for _ in range(400):
        data = data_of(model, LABELS, PREDICTIONS, None)
        passes = loss_passes(model, mixed_targets(), data, seed)
        ((weight, (y, _, weights)),) = passes
        assert weight == 1.0
        assert weights is None
        drawn.append(array(y))
    is_partner = np.mean(np.array(drawn) != LABELS, axis=0)
    # Four standard deviations of a share of 400.
    bound = 4 * np.sqrt(SHARE * (1 - SHARE) / 400)
    # The second sample and its partner differ, and the third is not mixed.
    assert np.all(np.abs(is_partner - SHARE) <= bound + 1e-9)


def test_weighted_mean_takes_the_weight_of_the_label_drawn():
    loss = sparse(reduction="mean_with_sample_weight")
    model, seed = model_with(loss), keras.random.SeedGenerator(3)
    data = data_of(model, LABELS, PREDICTIONS, WEIGHTS)
    ((_, (y, _, weights)),) = loss_passes(model, mixed_targets(), data, seed)
    of_partner = array(y) != LABELS
    np.testing.assert_array_equal(
        array(weights), np.where(of_partner, WEIGHTS[PARTNER], WEIGHTS)
    )


def test_metrics_see_each_sample_once():
    predictions = np.concatenate([PREDICTIONS, 0 * PREDICTIONS])
    model = model_with(sparse())
    data = data_of(model, LABELS, predictions, None)
    y, seen, weights = metric_data(mixed_targets(2), data)
    np.testing.assert_array_equal(array(y), LABELS)
    np.testing.assert_array_equal(array(seen), PREDICTIONS)
    assert weights is None


def test_of_a_population_metrics_see_each_members_first_view():
    views = np.concatenate([PREDICTIONS * k for k in (1, 2, 3, 4)])
    targets = RowMap(BATCH, 2, members=2)
    model = model_with(sparse())
    data = data_of(model, LABELS, views, WEIGHTS)
    y, seen, weights = metric_data(targets, data)
    np.testing.assert_array_equal(array(y), np.tile(LABELS, 2))
    np.testing.assert_array_equal(
        array(seen), np.concatenate([PREDICTIONS, 3 * PREDICTIONS])
    )
    np.testing.assert_array_equal(array(weights), np.tile(WEIGHTS, 2))
