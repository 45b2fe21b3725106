"""Unlabeled samples: the term that learns from them, and everything else, which must
skip them."""

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
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.rows import RowMap
from keras_modals._src.training.objective import compute_objective
from keras_modals.operations import ClassMixing

pytestmark = pytest.mark.backend

#: A weight so small that it changes nothing, but is not off.
NOTHING = 1e-30
IS_EAGER = keras.backend.backend() == "tensorflow"
SPARSE, BINARY = "sparse_categorical_crossentropy", "binary_crossentropy"
LABELED, ALL, TIME = 5, 12, 4


class Watched(Consistency):
    """Stores the step that it receives."""

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


#: Kind to the head's width and activation, its loss, a function from outputs to
#: probabilities, and the distance between two of these.
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
    "series": (2, None, "mse", lambda p: p, lambda p, q: np.mean((p - q) ** 2)),
}


def targets(kind, rng):
    """Returns the targets of all samples. Only the first ones have a label."""
    classes = rng.integers(0, 3, ALL)
    y = {
        "softmax": classes,
        "logits": classes,
        "one-hot": np.eye(3)[classes],
        "binary": np.minimum(classes, 1),
        "several": rng.integers(0, 2, (ALL, 3)),
        "number": rng.normal(size=ALL).astype("float32"),
        "columns": rng.normal(size=(ALL, 2)).astype("float32"),
        "series": rng.normal(size=(ALL, TIME, 2)).astype("float32"),
    }[kind]
    y[LABELED:] = np.nan if y.dtype.kind == "f" else -1
    return y


def labels_of(kind):
    is_number = kind in ("number", "columns", "series")
    return {"labels": keras_modals.Values()} if is_number else {}


def network(width, activation, is_series=False):
    x = inputs = keras.Input((6,))
    for units in (8, 7):
        x = keras.layers.Dense(units, "tanh")(x)
    if is_series:
        x = keras.layers.Reshape((TIME, 2))(keras.layers.Dense(2 * TIME)(x))
    return keras.Model(inputs, keras.layers.Dense(width, activation)(x))


def watched(model, loss, term=None, **arguments):
    """Returns a compiled model in the middle of its ramp, with different averaged
    weights, and its term."""
    model = keras_modals.augment(model, seed=0, warmup_steps=0, **arguments)
    term = term or Watched(1.0, threshold=None, ramp_steps=(0, 4))
    compile_(model, keras.optimizers.SGD(0.1), loss=loss, terms=[term])
    rng = np.random.default_rng(1)
    for variable in model.optimizer.variables:
        if variable.name.endswith("_average"):
            variable.assign(rng.normal(size=variable.shape))
    model.optimizer.iterations.assign(3)
    return model, term


def of_teacher(model, x):
    """Returns the outputs of a model with the averaged weights."""
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
    model, term = watched(network(width, activation, kind == "series"), loss, **more)
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


@pytest.mark.parametrize("kind", KINDS)
def test_pseudo_labels_are_the_default_for_classes(rng, kind):
    width, activation, loss, *_ = KINDS[kind]
    x, y = rng.normal(size=(ALL, 6)).astype("float32"), targets(kind, rng)

    def total(threshold):
        keras.utils.set_random_seed(0)
        term = Watched(1.0, threshold=threshold, ramp_steps=(0, 0))
        made = network(width, activation, kind == "series")
        model, _ = watched(made, loss, term, **labels_of(kind))
        return float(array(compute_objective(model, x, y, None).model_loss))

    has_classes = kind in ("softmax", "logits", "one-hot", "binary")
    assert total("auto") == total(0.8 if has_classes else None)
    if has_classes:
        assert abs(total("auto") - total(None)) > 1e-3


@pytest.mark.parametrize("threshold", [0, 1.0, -0.5, "high"])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match=r"argument `threshold`\. Expected a float in"):
        Consistency(1.0, threshold=threshold)
    for accepted in (np.float32(0.9), None, "auto"):
        config = Consistency(1.0, threshold=accepted).get_config()
        assert config["threshold"] == accepted


@pytest.mark.parametrize("threshold", [0.4, 0.999])
def test_pseudo_labels_are_those_of_plain_loops(rng, threshold):
    term = Watched(1.0, threshold=threshold, ramp_steps=(0, 0))
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_are_none_change_no_number_of_the_task(rng, kind):
    """Trained on all samples, a model without augmentation equals a plain model trained
    on the labeled ones."""
    width, activation, loss, *_ = KINDS[kind]
    x = rng.normal(size=(ALL, 6)).astype("float32")
    y, weights = targets(kind, rng), rng.uniform(0.5, 1.5, ALL)
    if kind == "series":
        # Keras needs weights with as many axes as losses.
        weights = weights[:, None]
    plain = network(width, activation, kind == "series")
    model = keras_modals.augment(
        plain, seed=0, policy=Policy.zero(repeats=1), layer="head", **labels_of(kind)
    )
    # AUC ignores masks, but uses weights.
    metric = "mean_absolute_error" if labels_of(kind) else "accuracy"
    logs = []
    for each, known, terms in (
        (plain, slice(LABELED), {}),
        (model, slice(ALL), {"terms": [Consistency(NOTHING)]}),
    ):
        # Both end with averaged weights.
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "several", "number"])
def test_metrics_without_weights_count_labels_alone(rng, kind):
    width, activation, loss, *_ = KINDS[kind]
    x, y = rng.normal(size=(ALL, 6)).astype("float32"), targets(kind, rng)
    name = "mean_absolute_error" if kind == "number" else "accuracy"
    # The model learns nothing, so all steps have the same numbers.
    model = keras_modals.augment(
        network(width, activation, kind == "series"),
        policy=Policy.zero(repeats=1),
        **labels_of(kind),
    )
    optimizer = keras.optimizers.SGD(0.0)
    model.compile(optimizer, loss, metrics=[name], consistency_weight=1.0)
    logs = model.fit(x, y, batch_size=ALL, verbose=0).history
    known = x[:LABELED], y[:LABELED]
    scores = model.evaluate(*known, verbose=0, return_dict=True)
    assert logs[name][0] == pytest.approx(scores[name], rel=1e-5)
    assert logs["loss"][0] == pytest.approx(scores["loss"], rel=1e-5)
    assert logs["ignored_labels"] == [(ALL - LABELED) / ALL]


# Partners -------------------------------------------------------------------------


@pytest.mark.parametrize("partners", ["any", "balanced"])
def test_samples_without_labels_meet_each_other(rng, partners):
    """Checks the frequencies of partners for every row, within 4.5 standard errors."""
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
    """Checks how often samples are mixed, within 4.5 standard errors."""
    size, labeled = 4000, 1600
    groups = np.where(np.arange(size) < labeled, np.arange(size) % 3, -1)
    labels = of_groups(tensor(groups, "int32"))
    labels = labels._replace(unlabeled=tensor(groups < 0, "bool"))
    policy = Policy({"class_mixing": (0.3, 0.5)}, operation_counts=(0.0, 1.0))
    layer = keras_modals.LatentAugmentation(3, policy, seed=0)
    layer.build((None, 4))
    mixing = StepMixing([layer], labels, RowMap(size), layer.seed_generator)
    is_mixed = array(mixing.share) > 0
    assert np.all(is_mixed[labeled:])
    error = np.sqrt(labeled * 0.3 * 0.7)
    assert abs(is_mixed[:labeled].sum() - 0.3 * labeled) <= 4.5 * error


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
    # The first feature identifies the sample.
    x[:, 0] = np.arange(40)
    return x, (np.arange(16) % 3).astype("int32")


class Inputs:
    """An iterable over batches of inputs only."""

    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(np.split(self.x, 4))


@pytest.mark.parametrize("source", ["arrays", *STREAMS])
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
        inputs, labels = (np.concatenate(each) for each in zip(*batches, strict=True))
        numbers, known = inputs[:, 0].astype(int), labels >= 0
        # Each half has its share of labeled and unlabeled samples.
        assert [known[i : i + 13].reshape(-1)[:7].sum() for i in (0, 13)] == [4, 4]
        assert sorted(numbers[known]) == list(range(16))
        np.testing.assert_array_equal(labels[known], y[numbers[known]])
        rows.append(numbers[known])
        seen.extend(numbers[~known])
    # All 24 unlabeled samples come before any repeats.
    assert sorted(seen[:24]) == list(range(16, 40))
    assert (rows[0] == rows[1]).all() == (source != "arrays")


def test_a_joined_dataset_trains_as_its_batches_do(rng):
    x, y = parts(rng)
    weights = []
    for by_hand in (False, True):
        model = learner()
        data = join_unlabeled((x[:16], y), x[16:], batch_size=8, seed=0)
        model.terms[0].begin_fit(4, 0)
        if by_hand:
            for _ in range(2):
                for index in range(2):
                    model.train_on_batch(*data[index])
                data.on_epoch_end()
        else:
            callback = Look()
            model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
            # After `fit`, the model has the averages.
            model = callback
        weights.append([array(v) for v in model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


class Look(keras.callbacks.Callback):
    """Stores the weights at the end of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.trainable_variables = [array(v) for v in self.model.trainable_variables]


def test_samples_without_labels_go_on_from_fit_to_fit(rng):
    x, y = parts(rng)
    data, seen = join_unlabeled((x[:8], y[:8]), x[8:], batch_size=4, seed=0), set()
    model = learner()
    for _ in range(2):
        seen.update(int(n) for i in range(2) for n in data[i][0][:, 0])
        model.fit(data, verbose=0)
    # There are 32 unlabeled samples, 16 in each epoch.
    assert len(seen) == 8 + 32


def test_losses_in_the_logs_are_means_of_labels_and_of_what_has_none(rng):
    """This holds for any share of each in the batches."""
    model = keras_modals.augment(
        network(3, "softmax"), policy=Policy.zero(repeats=1), layer="head"
    )
    term = Consistency(1.0, ramp_steps=(0, 0))
    model.compile(keras.optimizers.SGD(0.0), SPARSE, metrics=["accuracy"], terms=[term])
    x, y = rng.normal(size=(ALL, 6)).astype("float32"), rng.integers(0, 3, ALL)
    y[5:] = -1
    logs = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    said = array(model(x))
    expected = -np.log(said[np.arange(5), y[:5]]).mean()
    np.testing.assert_allclose(logs["loss"], [expected], rtol=1e-5)
    assert logs["accuracy"][0] == pytest.approx(np.mean(said[:5].argmax(-1) == y[:5]))


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
        # Unlabeled samples are before, between and after the labeled ones.
        known = np.arange(9) % 3 == 1
        np.testing.assert_array_equal(inputs["a"][known], x[:3])
        np.testing.assert_array_equal(labels[known], y)
        others = labels[~known]
        assert others.shape == (6, *y.shape[1:])
        np.testing.assert_array_equal(others, np.full_like(others, none))
        np.testing.assert_array_equal(sample_weight[known], weights)
        np.testing.assert_array_equal(sample_weight[~known], 1.0)


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
    """Before the end, the weights are the student's. If Keras's callback swaps them,
    the averages are validated."""
    x, y = parts(rng)
    after, before = [], []

    class Both(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            before.append([array(v) for v in self.model.trainable_variables])

        def on_epoch_end(self, epoch, logs=None):
            after.append([array(v) for v in self.model.trainable_variables])

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    model, _ = trained(x, y, epochs=2, callbacks=[swap, Both()])
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
        # Restore the state before the first unfinished epoch.
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        trained(x, y, epochs=4, callbacks=[backup(), Stop()])
    resumed, _ = trained(x, y, epochs=4, callbacks=[backup()])
    for one, other in zip(
        whole.trainable_variables, resumed.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        ((0, 0), [1, 1, 1, 1, 1]),
        ((0, 4), [0, 0.25, 0.5, 0.75, 1]),
        ((2, 2), [0, 0, 1, 1, 1]),
        ((1, 3), [0, 0, 0.5, 1, 1]),
    ],
)
def test_the_weight_grows_between_two_steps(rng, ramp, expected):
    model, _ = watched(network(3, "softmax"), SPARSE, Watched(1.0, ramp_steps=ramp))
    x = rng.normal(size=(ALL, 6)).astype("float32")
    for step, share in enumerate(expected):
        model.optimizer.iterations.assign(step)
        objective = compute_objective(model, x, targets("softmax", rng), None)
        loss = float(array(objective.logs[0]["consistency_loss"]))
        added = float(array(objective.model_loss) - array(objective.task_loss))
        assert added == pytest.approx(share * loss, rel=1e-4, abs=1e-7)


def test_what_only_others_train_waits_until_it_has_a_weight():
    """Adam would take full steps even with the smallest gradients."""
    x = np.repeat(np.arange(8), 4).astype("int32")[:, None]
    y = np.where(x[:, 0] < 4, x[:, 0] % 2, -1)
    inputs = keras.Input((1,), dtype="int32")
    hidden = keras.layers.Flatten()(keras.layers.Embedding(8, 4)(inputs))
    outputs = keras.layers.Dense(2, "softmax")(hidden)
    model = keras_modals.augment(keras.Model(inputs, outputs), seed=0)
    term = Consistency(1.0, threshold=None, ramp_steps=(10, 20))
    compile_(model, keras.optimizers.Adam(0.1), loss=SPARSE, terms=[term])
    before = model.get_layer("embedding").get_weights()[0]
    for is_moved in (False, True):
        model.fit(x, y, batch_size=32, epochs=10, verbose=0)
        after = model.get_layer("embedding").get_weights()[0]
        assert np.any(after[:4] != before[:4])
        assert np.any(after[4:] != before[4:]) == is_moved


@pytest.mark.parametrize("ramp", [3, (4, 3), (1, 2, 3), (0.5, 2), ("a", "b")])
def test_the_steps_of_the_ramp_are_two_in_order(ramp):
    with pytest.raises(ValueError, match="Expected a pair of integers"):
        Consistency(1.0, ramp_steps=ramp)


def test_the_weight_grows_in_the_middle_of_fit(rng):
    x, y = parts(rng)
    model = learner()
    trained(x, y, model, epochs=10)
    # 10 epochs of 2 steps.
    assert array(model.terms[0].ramp).tolist() == [8.0, 16.0]


def test_steps_are_those_of_the_optimizer(rng):
    """There are fewer of these with gradient accumulation."""
    x, y = parts(rng)
    model = keras_modals.augment(network(3, "softmax"), seed=0)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model.compile(optimizer, SPARSE, consistency_weight=1.0)
    trained(x, y, model, epochs=10)
    assert array(model.terms[0].ramp).tolist() == [4.0, 8.0]


@pytest.mark.slow
def test_averages_are_of_the_last_tenth_of_a_short_training(rng):
    x, y = parts(rng)
    model = learner()
    trained(x, y, model, epochs=30)
    assert model.optimizer.ema_momentum == pytest.approx(1 - 1 / 6)
    for own in ({"ema_momentum": 0.5}, {}):
        model = keras_modals.augment(network(3, "softmax"))
        optimizer = keras.optimizers.SGD(0.1, use_ema=not own, ema_momentum=0.7)
        term = Consistency(1.0, **own)
        model.compile(optimizer, SPARSE, terms=[term])
        trained(x, y, model)
        assert model.optimizer.ema_momentum == (0.5 if own else 0.7)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_stream_of_unknown_length(rng):
    """After an epoch, its length is known. With only one epoch, there is no weight."""
    x, y = parts(rng)
    y = np.concatenate([y, np.full(24, -1, "int32")])

    def stream():
        for start in range(0, 40, 8):
            yield x[start : start + 8], y[start : start + 8]

    tf = pytest.importorskip("tensorflow")
    shapes = tf.TensorSpec((None, FEATURES)), tf.TensorSpec((None,), "int32")
    data = tf.data.Dataset.from_generator(stream, output_signature=shapes)
    model = learner()
    model.fit(data, epochs=4, shuffle=False, verbose=0)
    # There are 5 batches. When TensorFlow reaches the end, the optimizer has counted
    # one more step.
    steps = 6 if keras.backend.backend() == "tensorflow" else 5
    ramp = np.array([0.4, 0.8], "float32") * 4 * steps
    np.testing.assert_array_equal(array(model.terms[0].ramp), ramp)
    with pytest.warns(UserWarning, match="pass `steps_per_epoch`"):
        learner().fit(data, epochs=1, shuffle=False, verbose=0)
    # The optimizer's steps are fewer than the batches, and are those of one `fit`.
    model = keras_modals.augment(network(3, "softmax"), seed=0)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
    model.compile(optimizer, SPARSE, consistency_weight=1.0)
    for _ in range(2):
        model.fit(data, epochs=10, shuffle=False, verbose=0)
        ramp = array(model.terms[0].ramp)
        np.testing.assert_allclose(ramp, [4.0, 8.0], atol=0.5)


def test_joined_samples_are_not_evaluated(rng):
    x, y = parts(rng)
    data = join_unlabeled((x[:16], y), x[16:], batch_size=8)
    model = learner()
    for call in (
        lambda: model.evaluate(data),
        lambda: model.fit(data, validation_data=data),
    ):
        with pytest.raises(ValueError, match="to evaluate must have labels"):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ((x[:16], y.tolist()), x[16:]), "`labeled`. Expected a tuple"),
        (lambda x, y: ((x[:16], y), x[16:].tolist()), "`unlabeled`. Expected arrays"),
        (lambda x, y: ((x[:16], y), None), "`unlabeled`. Expected arrays"),
        (lambda x, y: ((x[:16], y.astype(str)), x[16:]), r"numeric labels.*np\.unique"),
        (
            lambda x, y: ((x[:16], y.astype(str).astype(object)), x[16:]),
            r"numeric labels.*np\.unique",
        ),
    ],
)
def test_lists_and_names_are_not_joined(change, message, rng):
    with pytest.raises(ValueError, match=message):
        join_unlabeled(*change(*parts(rng)))
    x, y = parts(rng)
    with pytest.raises(ValueError, match="argument `seed`"):
        join_unlabeled((x[:16], y), x[16:], seed=-1)


def test_callbacks_in_a_list_of_keras(rng):
    x, y = parts(rng)
    model = keras_modals.augment(network(3, "softmax"))
    model.compile("sgd", SPARSE)
    callbacks = keras.callbacks.CallbackList(
        [], add_history=True, model=model, epochs=1, steps=1
    )
    model.fit(x[:16], y, callbacks=callbacks, verbose=0)
    assert list(model.history.history) == ["loss"]


# Errors and warnings --------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"metrics": [keras.metrics.AUC()]}, "in `weighted_metrics`"),
        (lambda: {"metrics": ["AUC"]}, "in `weighted_metrics`"),
        (lambda: {"metrics": [mean_of_batch]}, "one for the batch"),
        (lambda: {"optimizer": used_optimizer()}, "with `use_ema=True`"),
        (lambda: {"optimizer": several_optimizers()}, "one Keras optimizer"),
    ],
)
def test_what_would_count_them_is_refused(make, message):
    model = keras_modals.augment(network(3, "softmax"))
    arguments = {"optimizer": "sgd", "loss": SPARSE, **make()}
    with pytest.raises(ValueError, match=message):
        model.compile(consistency_weight=1.0, **arguments)


def mean_of_batch(y_true, y_pred):
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y_true, y_pred))


def several_optimizers():
    optimizers = [keras.optimizers.SGD(), keras.optimizers.Adam()]
    return keras.optimizers.MultiOptimizer([(each, []) for each in optimizers])


def used_optimizer():
    optimizer = keras.optimizers.SGD()
    model = keras_modals.augment(network(3, "softmax"))
    optimizer.build(model.trainable_variables)
    return optimizer


def test_what_is_evaluated_must_have_labels(rng):
    x, y = rng.normal(size=(ALL, 6)).astype("float32"), targets("softmax", rng)
    model = keras_modals.augment(network(3, "softmax"))
    model.compile("sgd", SPARSE, consistency_weight=1.0)
    with pytest.raises(ValueError, match="must have labels"):
        model.fit(x, y, validation_data=(x, y), verbose=0)
    with pytest.raises(ValueError, match="must have labels"):
        model.evaluate(x, y, verbose=0)


def test_joined_data_are_for_what_learns_from_them(rng):
    x, y = parts(rng)
    model = keras_modals.augment(network(3, "softmax"))
    model.compile("sgd", SPARSE)
    with pytest.raises(ValueError, match="Compile with `consistency_weight`"):
        model.fit(join_unlabeled((x[:16], y), x[16:]), verbose=0)


def test_what_is_not_known_of_the_output_is_asked_for():
    inputs = keras.Input((6,))
    hidden = [keras.layers.Dense(3)(inputs) for _ in range(2)]
    plain = keras.Model(inputs, keras.layers.Add()(hidden))

    def own_loss(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, True)

    model = keras_modals.augment(plain, num_classes=3)
    with pytest.raises(ValueError, match="probabilities or logits"):
        model.compile("sgd", own_loss, consistency_weight=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, consistency_weight=1.0)
    assert model.gives_logits


def test_what_the_loss_ignores_is_not_what_has_no_label(rng):
    """It is not mixed, as usual."""
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=9)
    model, term = watched(network(3, "softmax"), loss)
    y = np.array([0, 1, 2, 0, 9, 9, 9, -1, -1, -1, 1, 2])
    x = rng.normal(size=(ALL, 6)).astype("float32")
    for _ in range(5):
        compute_objective(model, x, y, None)
        rows = term.step.rows
        partner, share = array(rows.partner), array(rows.share)
        assert np.all(share[y == 9] == 0)
        assert np.all(share[y == -1] > 0)
        assert np.all(y[partner[y == -1]] == -1)
        np.testing.assert_array_equal(array(term.step.unlabeled), y == -1)


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
    with pytest.raises(ValueError, match="must be floats, with NaN"):
        numbers.fit(x[:16, :6], y, verbose=0)
    search = keras_modals.SharedEncoderSearch(
        keras_modals.augment(network(3, "softmax"), layer="head")
    )
    with pytest.raises(ValueError, match="learn from labels alone"):
        search.compile("sgd", SPARSE, consistency_weight=1.0)
    with pytest.raises(ValueError, match="pass `num_batches`"):
        join_unlabeled(iter([(x, y)]), x)
    for labeled, message in (
        (x, "a tuple `.x, y.` of arrays"),
        (([*x[:16]], y), "the same number of samples"),
        ((x[:16], y.astype(str)), "numeric labels"),
        ((x[:16, :3], y), "of the same shape"),
        (({"a": x[:16]}, y), "of the same shape"),
    ):
        with pytest.raises(ValueError, match=message):
            join_unlabeled(labeled, x)[0]


def test_what_is_not_used_is_said(rng):
    x = rng.normal(size=(ALL, 6)).astype("float32")
    model = keras_modals.augment(network(3, "softmax"))
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile("sgd", loss)
    with pytest.warns(UserWarning, match="7 of 12 samples .* 'Few labels"):
        model.fit(x, targets("softmax", rng), batch_size=ALL, verbose=0)
