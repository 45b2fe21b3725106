"""Samples without labels: the term that learns from them, and all else, which must
leave them out."""

import keras
import numpy as np
import pytest
from portable import array, tensor
from problems import compile_
from streams_test import FEATURES, STREAMS, Batches, generator

import keras_modals
from keras_modals import Consistency, Policy, join_unlabeled
from keras_modals._src.labels import Classes, of_groups
from keras_modals._src.layers.partners import draw_partners
from keras_modals._src.training.objective import compute_objective
from keras_modals.operations import ClassMixing

pytestmark = pytest.mark.backend

#: So little that it changes nothing, and is not off.
NOTHING = 1e-30
IS_EAGER = keras.backend.backend() == "tensorflow"
SPARSE, BINARY = "sparse_categorical_crossentropy", "binary_crossentropy"
LABELED, ALL, TIME = 5, 12, 4


class Watched(Consistency):
    """Keeps what it is given."""

    kind = "watched"

    def losses_of_step(self, step):
        self.step = step
        return super().losses_of_step(step)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def both(p):
    return np.concatenate([1 - p, p], axis=-1)


def squares(p, q):
    return np.sum((p - q) ** 2, axis=-1)


#: Kind to the head's width and activation, its loss, what outputs are in probabilities,
#: and how far two are from each other.
KINDS = {
    "softmax": (3, "softmax", SPARSE, lambda p: p, squares),
    "logits": (
        3,
        None,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        softmax,
        squares,
    ),
    "one-hot": (3, "softmax", "categorical_crossentropy", lambda p: p, squares),
    "binary": (1, "sigmoid", BINARY, both, squares),
    "several": (
        3,
        "sigmoid",
        BINARY,
        lambda p: p,
        lambda p, q: np.mean(squares(both(p[..., None]), both(q[..., None])), axis=-1),
    ),
    "number": (1, None, "mse", lambda p: p, lambda p, q: np.mean((p - q) ** 2, -1)),
    "columns": (2, None, "mae", lambda p: p, lambda p, q: np.mean(abs(p - q), -1)),
}


def targets(kind, rng):
    """Of all samples, those after the first ones without a label."""
    classes = rng.integers(0, 3, ALL)
    y = {
        "softmax": classes,
        "logits": classes,
        "one-hot": np.eye(3)[classes],
        "binary": np.minimum(classes, 1),
        "several": rng.integers(0, 2, (ALL, 3)),
        "number": rng.normal(size=ALL).astype("float32"),
        "columns": rng.normal(size=(ALL, 2)).astype("float32"),
    }[kind]
    y[LABELED:] = np.nan if y.dtype.kind == "f" else -1
    return y


def labels_of(kind):
    is_number = kind in ("number", "columns")
    return {"labels": keras_modals.Values()} if is_number else {}


def network(width, activation, shape=(6,)):
    x = inputs = keras.Input(shape)
    for units in (8, 7):
        x = keras.layers.Dense(units, "tanh")(x)
    return keras.Model(inputs, keras.layers.Dense(width, activation)(x))


def watched(model, loss, term=None, **arguments):
    """A compiled model whose averaged weights are others, in the middle of its ramp."""
    model = keras_modals.augment(model, seed=0, warmup_steps=0, **arguments)
    term = term or Watched(1.0, ramp_steps=4)
    compile_(model, keras.optimizers.SGD(0.1), loss=loss, terms=[term])
    rng = np.random.default_rng(1)
    for variable in model.optimizer.variables:
        if variable.name.endswith("_average"):
            variable.assign(rng.normal(size=variable.shape))
    model.optimizer.iterations.assign(3)
    return model, term


def of_teacher(model, x):
    """What a model with the averaged weights says."""
    averages = [v for v in model.optimizer.variables if v.name.endswith("_average")]
    weights = [array(variable) for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(array(average))
    said = array(model(x))
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        variable.assign(weight)
    return said


@pytest.mark.parametrize("num_views", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_term_is_that_of_plain_loops(rng, kind, num_views):
    width, activation, loss, says, distance = KINDS[kind]
    more = {"num_views": num_views, **labels_of(kind)}
    model, term = watched(network(width, activation), loss, **more)
    x = rng.normal(size=(ALL, 6)).astype("float32")
    objective = compute_objective(model, x, targets(kind, rng), None)
    rows, outputs = term.step.rows, says(array(term.step.outputs))
    teacher = says(of_teacher(model, x))
    partner, share = array(rows.partner), array(rows.share)
    errors = []
    for row in range(num_views * ALL):
        sample = row % ALL
        if sample < LABELED:
            assert partner[row] < LABELED
            continue
        assert partner[row] >= LABELED
        if row >= (num_views - 1) * ALL:
            assert 0 < share[row] < 0.5
            assert partner[row] != sample
        expected = (1 - share[row]) * teacher[sample]
        expected = expected + share[row] * teacher[partner[row]]
        errors.append(distance(outputs[row], expected))
    logs = {name: float(array(each)) for name, each in objective.logs[0].items()}
    np.testing.assert_allclose(logs["consistency_loss"], np.mean(errors), rtol=2e-5)
    added = array(objective.model_loss) - array(objective.task_loss)
    np.testing.assert_allclose(added, 0.75 * np.mean(errors), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.4, 0.999])
def test_pseudo_labels_are_those_of_plain_loops(rng, threshold):
    term = Watched(1.0, threshold=threshold, ramp_steps=0)
    model, _ = watched(network(3, "softmax"), SPARSE, term)
    x = rng.normal(size=(ALL, 6)).astype("float32")
    objective = compute_objective(model, x, targets("softmax", rng), None)
    outputs, teacher = array(term.step.outputs), of_teacher(model, x)
    partner, share = array(term.step.rows.partner), array(term.step.rows.share)
    sure = teacher.max(-1) > threshold
    errors = [
        -(1 - share[row]) * np.log(outputs[row, teacher[row].argmax()])
        - share[row] * np.log(outputs[row, teacher[partner[row]].argmax()])
        for row in range(LABELED, ALL)
        if sure[row] and sure[partner[row]]
    ]
    expected = np.mean(errors) if errors else 0.0
    assert bool(errors) == (threshold == 0.4)
    added = array(objective.model_loss) - array(objective.task_loss)
    np.testing.assert_allclose(added, expected, rtol=1e-4, atol=1e-6)


def test_positions_without_labels_count_where_there_is_something(rng):
    inputs = keras.Input((TIME,), dtype="int32")
    x = keras.layers.Embedding(9, 5, mask_zero=True)(inputs)
    x = keras.layers.LSTM(6, return_sequences=True)(x)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    model, term = watched(model, SPARSE)
    x = rng.integers(1, 9, (ALL, TIME))
    x[:, 3] *= np.arange(ALL) % 2
    y = rng.integers(0, 3, (ALL, TIME))
    y[LABELED:] = -1
    y[0, 1] = -1
    objective = compute_objective(model, x, y, None)
    outputs, teacher = array(term.step.outputs), of_teacher(model, x)
    partner, share = array(term.step.rows.partner), array(term.step.rows.share)
    errors = []
    for row in range(ALL):
        for time in range(TIME):
            other = partner[row]
            if y[row, time] >= 0 or not x[row, time]:
                continue
            part = share[row] if x[other, time] else 0.0
            expected = (1 - part) * teacher[row, time] + part * teacher[other, time]
            errors.append(squares(outputs[row, time], expected))
    loss = array(objective.logs[0]["consistency_loss"])
    np.testing.assert_allclose(loss, np.mean(errors), rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_are_none_change_no_number_of_the_task(rng, kind):
    """Trained on all samples, a model that is not augmented is what a plain model is
    that is trained on those with labels."""
    width, activation, loss, *_ = KINDS[kind]
    x = rng.normal(size=(ALL, 6)).astype("float32")
    y, weights = targets(kind, rng), rng.uniform(0.5, 1.5, ALL)
    plain = network(width, activation)
    model = keras_modals.augment(
        plain, seed=0, policy=Policy.zero(repeats=1), layer="head", **labels_of(kind)
    )
    # The area under the curve heeds no masks, but weights.
    metric = "mean_absolute_error" if labels_of(kind) else "accuracy"
    logs = []
    for each, known, terms in (
        (plain, slice(LABELED), {}),
        (model, slice(ALL), {"terms": [Consistency(NOTHING)]}),
    ):
        # Both end with their averages.
        optimizer = keras.optimizers.SGD(0.5, use_ema=True)
        names = [metric] if kind != "binary" else [metric, "AUC"]
        each.compile(
            optimizer, loss, weighted_metrics=names, run_eagerly=IS_EAGER, **terms
        )
        history = each.fit(
            x[known],
            y[known],
            sample_weight=weights[known],
            batch_size=ALL,
            verbose=0,
            epochs=2,
        )
        logs.append(history.history)
    for name, values in logs[0].items():
        np.testing.assert_allclose(values, logs[1][name], rtol=1e-5)
    for one, other in zip(plain.trainable_variables, model.trainable_variables):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["softmax", "several", "number"])
def test_metrics_without_weights_count_labels_alone(rng, kind):
    width, activation, loss, *_ = KINDS[kind]
    x, y = rng.normal(size=(ALL, 6)).astype("float32"), targets(kind, rng)
    name = "mean_absolute_error" if kind == "number" else "accuracy"
    # It learns nothing, so that all steps have the same numbers.
    model = keras_modals.augment(
        network(width, activation), policy=Policy.zero(repeats=1), **labels_of(kind)
    )
    optimizer = keras.optimizers.SGD(0.0)
    model.compile(optimizer, loss, metrics=[name], consistency_weight=1.0)
    logs = model.fit(x, y, batch_size=ALL, verbose=0).history
    known = x[:LABELED], y[:LABELED]
    scores = model.evaluate(*known, verbose=0, return_dict=True)
    assert logs[name][0] == pytest.approx(scores[name], rel=1e-5)
    assert logs["loss"][0] == pytest.approx(scores["loss"], rel=1e-5)
    assert logs["ignored_labels"] == [(ALL - LABELED) / ALL]


# Whom they are mixed with ---------------------------------------------------------


@pytest.mark.parametrize("partners", ["any", "balanced"])
def test_samples_without_labels_meet_each_other(rng, partners):
    """Frequencies of partners for every row, within 4.5 standard errors."""
    groups = np.array([0, 0, -1, 1, -1, 0, -1, -1], "int32")
    size, batch = 4000, len(groups)
    labels = of_groups(tensor(groups, "int32"))
    labels = labels._replace(unlabeled=tensor(groups < 0, "bool"))
    partner = array(
        draw_partners(
            ClassMixing(partners=partners),
            tensor(rng.uniform(size=(size * batch, 2))),
            tensor(np.tile(np.arange(batch), size), "int32"),
            labels,
            Classes(2),
        )
    ).reshape(size, batch)
    for sample in range(batch):
        others = np.arange(batch) != sample
        pool = others & ((groups < 0) == (groups[sample] < 0))
        expected = pool / pool.sum()
        if partners == "balanced" and groups[sample] >= 0:
            classes = [c for c in (0, 1) if np.any(pool & (groups == c))]
            members = [pool & (groups == c) for c in classes]
            expected = sum(m / m.sum() for m in members) / len(classes)
        counts = np.bincount(partner[:, sample], minlength=batch)
        errors = np.sqrt(size * expected * (1 - expected))
        assert np.all(np.abs(counts - size * expected) <= 4.5 * errors), sample


def test_only_samples_with_labels_follow_the_policy_s_probability(rng):
    """How often each is mixed, within 4.5 standard errors."""
    policy = Policy({"class_mixing": (0.3, 0.5)}, operation_counts=(0.0, 1.0))
    model, term = watched(network(3, "softmax"), SPARSE, policy=policy)
    x, steps = rng.normal(size=(ALL, 6)).astype("float32"), 200
    y, counts = targets("softmax", rng), np.zeros(ALL)
    for _ in range(steps):
        compute_objective(model, x, y, None)
        counts += array(term.step.rows.share) > 0
    assert np.all(counts[LABELED:] == steps)
    count, error = steps * LABELED * 0.3, np.sqrt(steps * LABELED * 0.3 * 0.7)
    assert abs(counts[:LABELED].sum() - count) <= 4.5 * error


@pytest.mark.parametrize("labeled", [0, 1, ALL - 1, ALL])
def test_batches_with_few_of_one_kind(rng, labeled):
    model, term = watched(network(3, "softmax"), SPARSE)
    x = rng.normal(size=(ALL, 6)).astype("float32")
    y = rng.integers(0, 3, ALL)
    y[labeled:] = -1
    objective = compute_objective(model, x, y, None)
    outputs, teacher = array(term.step.outputs), of_teacher(model, x)
    partner, share = array(term.step.rows.partner), array(term.step.rows.share)
    error, loss = [], []
    for row in range(ALL):
        s, other = share[row], partner[row]
        if labeled <= row:
            expected = (1 - s) * teacher[row] + s * teacher[other]
            error.append(squares(outputs[row], expected))
        else:
            own, of_partner = -np.log(outputs[row, [y[row], y[other]]])
            loss.append((1 - s) * own + s * of_partner)
    if labeled in (1, ALL - 1):
        assert not share[labeled - 1 if labeled == 1 else labeled]
    expected = np.mean(error) if error else 0.0
    np.testing.assert_allclose(
        array(objective.logs[0]["consistency_loss"]), expected, rtol=2e-5
    )
    expected = np.mean(loss) if loss else 0.0
    np.testing.assert_allclose(array(objective.task_loss), expected, rtol=2e-5)


# Streams --------------------------------------------------------------------------


def parts(rng):
    x = rng.normal(size=(40, FEATURES)).astype("float32")
    # Which sample it is.
    x[:, 0] = np.arange(40)
    return x, (np.arange(16) % 3).astype("int32")


class Inputs:
    """Batches of inputs alone, that can be iterated over."""

    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(np.split(self.x, 4))


@pytest.mark.parametrize("source", ["arrays", *STREAMS], ids=str)
def test_joined_batches_have_so_many_of_each(rng, source):
    x, y = parts(rng)
    labeled, unlabeled = (x[:16], y), x[16:]
    if source != "arrays":
        if source is generator:
            labeled = list(Batches(*labeled))
            unlabeled = Inputs(unlabeled)
        else:
            labeled, unlabeled = source(*labeled), source(unlabeled, unlabeled)
    data = join_unlabeled(
        labeled, unlabeled, batch_size=8, unlabeled_per_batch=5, seed=0
    )
    assert data.num_batches == 2
    rows, seen = [], []
    for _ in range(3):
        batches = [data[index] for index in range(data.num_batches)]
        data.on_epoch_end()
        assert [each[0].shape for each in batches] == [(13, FEATURES)] * 2
        numbers = np.concatenate([each[0][:8, 0] for each in batches]).astype(int)
        assert sorted(numbers) == list(range(16))
        rows.append(numbers)
        for inputs, labels in batches:
            np.testing.assert_array_equal(labels[:8], y[inputs[:8, 0].astype(int)])
            np.testing.assert_array_equal(labels[8:], -1)
            seen.extend(inputs[8:, 0].astype(int))
    # All of the 24 before any comes twice.
    assert sorted(seen[:24]) == list(range(16, 40))
    assert (rows[0] == rows[1]).all() == (source != "arrays")


def test_a_joined_dataset_trains_as_its_batches_do(rng):
    x, y = parts(rng)
    weights, logs = [], []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = keras_modals.augment(network(3, "softmax"), seed=0)
        model.compile("sgd", SPARSE, metrics=["accuracy"], consistency_weight=1.0)
        data = join_unlabeled((x[:16, :6], y), x[16:, :6], batch_size=8, seed=0)
        history = model.fit(data, epochs=2, shuffle=False, verbose=0)
        logs.append(history.history)
        weights.append([array(v) for v in model.trainable_variables])
    assert logs[0] == logs[1]
    assert logs[0]["ignored_labels"] == [2 / 3] * 2
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_joined_keeps_weights_and_kinds_of_labels(rng):
    x = rng.normal(size=(9, 4))
    weights = rng.uniform(size=3).astype("float32")
    for y, none in (
        (np.array([1, 0, 2], "uint8"), -1),
        (np.eye(3), np.nan),
        (np.ones((3, 2), "int64"), -1),
        (np.arange(3.0), np.nan),
    ):
        data = join_unlabeled(
            ({"a": x[:3]}, y, weights), {"a": x[3:]}, shuffle=False, seed=0
        )
        inputs, labels, sample_weight = data[0]
        np.testing.assert_array_equal(inputs["a"][:3], x[:3])
        np.testing.assert_array_equal(labels[:3], y)
        assert labels.shape == (9, *y.shape[1:])
        np.testing.assert_array_equal(labels[3:], np.full_like(labels[3:], none))
        np.testing.assert_array_equal(sample_weight[:3], weights)
        np.testing.assert_array_equal(sample_weight[3:], 1.0)


# The teacher ----------------------------------------------------------------------


def trained(x, y, model=None, **arguments):
    model = model or learner()
    data = join_unlabeled((x[:16], y), x[16:], batch_size=8, shuffle=False, seed=0)
    return model, model.fit(data, shuffle=False, verbose=0, **arguments)


def learner():
    keras.utils.set_random_seed(0)
    model = keras_modals.augment(network(3, "softmax"), seed=0)
    optimizer = keras.optimizers.Adam(0.05)
    model.compile(optimizer, SPARSE, metrics=["accuracy"], consistency_weight=1.0)
    return model


def test_a_model_ends_with_the_averaged_weights(rng):
    """Those before it are the student's, and those that are validated where Keras's
    callback swaps them are the averages."""
    x, y = parts(rng)
    after, before = [], []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            before.append([array(v) for v in self.model.trainable_variables])

        def on_epoch_end(self, epoch, logs=None):
            after.append([array(v) for v in self.model.trainable_variables])

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    model, _ = trained(x, y, epochs=2, callbacks=[swap, Look()])
    weights = [array(v) for v in model.trainable_variables]
    for one, other, student in zip(weights, after[-1], before[-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert np.abs(one - student).max() > 1e-4
    plain = model.inference_model()
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-5)


def test_a_training_goes_on_after_a_stop(rng, tmp_path):
    x, y = parts(rng)
    whole, _ = trained(x, y, epochs=4)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        # Before the first epoch that is not done.
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        trained(x, y, epochs=4, callbacks=[backup(), Stop()])
    resumed, _ = trained(x, y, epochs=4, callbacks=[backup()])
    for one, other in zip(
        whole.trainable_variables, resumed.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-5, atol=1e-7)


def test_a_loaded_model_goes_on_as_the_saved_one(rng, tmp_path):
    x, y = parts(rng)
    model, _ = trained(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.terms[0].get_config() == model.terms[0].get_config()
    for one, other in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(array(one), array(other))
    logs = [trained(x, y, each, epochs=2)[1].history for each in (model, loaded)]
    for name, values in logs[0].items():
        np.testing.assert_allclose(values, logs[1][name], rtol=1e-5)


def test_the_weight_grows_over_the_first_steps_of_fit(rng):
    x, y = parts(rng)
    model = learner()
    trained(x, y, model, epochs=10)
    # 10 epochs of 2 steps.
    assert array(model.terms[0].ramp) == 8.0


# What cannot work -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"metrics": [keras.metrics.AUC()]}, "in `weighted_metrics`"),
        (lambda: {"metrics": ["AUC"]}, "in `weighted_metrics`"),
        (lambda: {"optimizer": used_optimizer()}, "with `use_ema=True`"),
    ],
)
def test_what_would_count_them_is_refused(make, message):
    model = keras_modals.augment(network(3, "softmax"))
    arguments = {"optimizer": "sgd", "loss": SPARSE, **make()}
    with pytest.raises(ValueError, match=message):
        model.compile(consistency_weight=1.0, **arguments)


def used_optimizer():
    optimizer = keras.optimizers.SGD()
    model = keras_modals.augment(network(3, "softmax"))
    optimizer.build(model.trainable_variables)
    return optimizer


def test_other_refusals(rng):
    x, y = parts(rng)

    def of_batch(y_true, y_pred):
        return keras.ops.mean(y_pred)

    model = keras_modals.augment(network(3, "softmax"))
    model.compile("sgd", of_batch, consistency_weight=1.0)
    with pytest.raises(ValueError, match="one number for each sample"):
        model.fit(x[:16, :6], y, verbose=0)
    numbers = keras_modals.augment(network(1, None), labels=keras_modals.Values())
    with pytest.raises(ValueError, match="leave `threshold` out for a regression"):
        numbers.compile("sgd", "mse", terms=[Consistency(1.0, threshold=0.9)])
    numbers.compile("sgd", "mse", consistency_weight=1.0)
    with pytest.raises(ValueError, match="must be floats, NaN where there is none"):
        numbers.fit(x[:16, :6], y, verbose=0)
    search = keras_modals.SharedEncoderSearch(
        keras_modals.augment(network(3, "softmax"), layer="head")
    )
    with pytest.raises(ValueError, match="learn from labels alone"):
        search.compile("sgd", SPARSE, consistency_weight=1.0)
    with pytest.raises(ValueError, match="pass `num_batches`"):
        join_unlabeled(iter([(x, y)]), x)
    with pytest.raises(ValueError, match="one array of labels"):
        join_unlabeled(x, x)[0]


def test_what_is_not_used_is_said(rng):
    x = rng.normal(size=(ALL, 6)).astype("float32")
    model = keras_modals.augment(network(3, "softmax"))
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile("sgd", loss)
    with pytest.warns(UserWarning, match="7 of 12 samples .* 'Few labels"):
        model.fit(x, targets("softmax", rng), batch_size=ALL, verbose=0)
