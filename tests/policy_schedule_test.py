import copy
import json
import pickle

import keras
import numpy as np
import pytest
from portable import BACKEND
from problems import compile_, make_data, modals_model

from keras_modals import Policy, PolicySchedule, PolicyScheduler

ZERO, HALF = Policy.zero(), Policy.constant(0.5, 0.5)


def random_schedule(seed, segments=4):
    rng = np.random.default_rng(seed)
    return PolicySchedule(
        [
            (int(rng.integers(1, 9)), Policy.random(seed + k), {"triplet_weight": 0.1})
            for k in range(segments)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_files_round_trip(seed, tmp_path):
    for value in (Policy.random(seed), random_schedule(seed)):
        value.save(tmp_path / "value.json")
        assert type(value).load(tmp_path / "value.json") == value
        assert json.loads((tmp_path / "value.json").read_text())["version"] == 1
        assert copy.deepcopy(value) == value
        assert pickle.loads(pickle.dumps(value)) == value
        assert hash(copy.copy(value)) == hash(value)


def test_files_are_readable(tmp_path):
    policy = Policy({"gaussian_noise": [(0.5, 0.1), (0.2, 0.3)]})
    PolicySchedule([(3, policy, {"dropout": 0.5})]).save(tmp_path / "schedule.json")
    text = (tmp_path / "schedule.json").read_text()
    assert '"gaussian_noise": [\n' in text
    assert "[ 0.5, 0.1 ]," in text
    assert len(text.splitlines()) < 25


def test_is_a_value():
    segments = [(3, ZERO), (2, HALF, {"dropout": 0.5})]
    schedule = PolicySchedule(segments)
    assert schedule == PolicySchedule(segments)
    assert hash(schedule) == hash(PolicySchedule(segments))
    assert schedule != PolicySchedule(segments[:1])
    assert schedule != PolicySchedule([segments[0], (2, HALF)])
    assert eval(repr(schedule)) == schedule
    # What it hands out is a copy.
    schedule.segments[1].values["dropout"] = 0.1
    schedule.at(4).values["dropout"] = 0.1
    assert schedule == PolicySchedule(segments)


@pytest.mark.parametrize("epochs", [1, 2, 7, 20, 61, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_stretches_in_proportion(seed, epochs):
    schedule = random_schedule(seed)
    stretched = schedule.stretch(epochs)
    assert stretched.epochs == epochs
    assert schedule.stretch(schedule.epochs) == schedule
    if epochs >= schedule.epochs:
        assert len(stretched.segments) == len(schedule.segments)
    # Where it has a boundary, the original has one within half an epoch.
    scale = epochs / schedule.epochs
    ends = np.cumsum([s.epochs for s in schedule.segments]) * scale
    for end in np.cumsum([s.epochs for s in stretched.segments]):
        assert np.min(np.abs(ends - end)) <= 0.5 + 1e-9


def test_at():
    schedule = PolicySchedule([(3, ZERO), (2, HALF)])
    assert [schedule.at(e).policy for e in range(6)] == [ZERO] * 3 + [HALF] * 3


BROKEN = {
    '{"format": "keras_modals.PolicySchedule", \n "version": 1': (2, "not valid JSON"),
    "[1, 2]": (1, "Not a `PolicySchedule` file"),
    '{"format": "keras_modals.Policy", "version": 1}': (1, "Expected format"),
    '{"format": "keras_modals.PolicySchedule",\n "version": 7}': (2, "version 1"),
    '{"format": "keras_modals.PolicySchedule", "version": 1}': (1, "'segments' is mis"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_refuses_a_broken_file(text, tmp_path):
    path = tmp_path / "schedule.json"
    path.write_text(text)
    line, message = BROKEN[text]
    with pytest.raises(ValueError, match=f"schedule.json, line {line}: .*{message}"):
        PolicySchedule.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"gaussian_noise"', '"gaussian_nose"', "gaussian_nose"),
        ("0.75", "1.75", "probability=1.75"),
        ("0.75", '"a"', "gaussian_noise="),
        ('"epochs": 5', '"epochs": -5', "epochs=-5"),
        ('"epochs": 5', '"epoch": 5', "'epochs' is missing"),
        ("0.3125", "0.25", "sum to 1"),
        ('"dropout": 0.5', '"dropout": "0.5"', "values="),
    ],
)
def test_names_the_line_at_fault(old, new, message, tmp_path):
    policy = Policy({"gaussian_noise": (0.75, 0.1)}, (0.3125, 0.6875))
    schedule = PolicySchedule([(3, policy), (5, policy, {"dropout": 0.5})])
    schedule.save(tmp_path / "schedule.json")
    text = (tmp_path / "schedule.json").read_text()
    # In the second segment.
    position = text.rindex(old)
    line = text.count("\n", 0, position) + 1
    (tmp_path / "schedule.json").write_text(
        text[:position] + new + text[position + len(old) :]
    )
    with pytest.raises(ValueError, match=message) as error:
        PolicySchedule.load(tmp_path / "schedule.json")
    reported = int(str(error.value).split("line ")[1].split(":")[0])
    # An entry is reported where it is, what is missing where its object begins.
    assert 0 <= line - reported <= 3


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], "at least one"),
        ([(0, ZERO)], "epochs=0"),
        ([(2.5, ZERO)], "epochs=2.5"),
        ([(2, "zero")], "policy='zero'"),
        ([(2, ZERO, {"dropout": "a"})], "values="),
        ([(2, ZERO), (2, Policy({"gaussian_noise": (0, 0)}))], "same operations"),
    ],
)
def test_refuses(segments, message):
    with pytest.raises(ValueError, match=message):
        PolicySchedule(segments)


class Observer(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        model = self.model
        layer = model.latent_augmentation
        self.seen.append(
            (
                layer.policy,
                round(float(model.triplet_weight), 6),
                round(float(layer.dropout_rate), 6),
                round(float(model.optimizer.learning_rate), 6),
            )
        )


def scheduled_model():
    return compile_(modals_model(policy=ZERO, dropout=0.0), triplet_weight=0.5)


def test_segments_like_those_before_go_on_with_them():
    values = {"dropout": 0.5}
    schedule = PolicySchedule.merged(
        [(2, ZERO), (3, ZERO), (1, ZERO, values), (1, HALF, values), (1, ZERO)]
    )
    assert [segment.epochs for segment in schedule.segments] == [5, 1, 1, 1]
    assert schedule.epochs == 8


@pytest.mark.backend
def test_scheduler_assigns_and_traces_nothing_again(rng, tmp_path):
    x, y = make_data(rng)
    model = scheduled_model()
    values = {"triplet_weight": 0.25, "dropout": 0.5, "learning_rate": 0.01}
    schedule = PolicySchedule([(1, ZERO), (1, HALF, values)])
    schedule.save(tmp_path / "schedule.json")
    model.run_eagerly = False
    traces = []
    step = model.train_step
    model.train_step = lambda *args: traces.append(1) or step(*args)
    observer = Observer()
    scheduler = PolicyScheduler(tmp_path / "schedule.json")
    fit = {"batch_size": 32, "verbose": 0, "callbacks": [scheduler, observer]}
    model.fit(x, y, epochs=1, batch_size=32, verbose=0)
    warm = len(traces)
    assert warm > 0
    model.fit(x, y, epochs=4, **fit)
    before, after = (ZERO, 0.5, 0.0, 0.001), (HALF, 0.25, 0.5, 0.01)
    assert observer.seen == [before, before, after, after]
    assert len(traces) == warm or BACKEND == "torch"
    # Going on in the middle of the schedule.
    observer.seen.clear()
    model.fit(x, y, initial_epoch=3, epochs=4, **fit)
    assert observer.seen == [after]
    # PyTorch's eager steps are not traced, but called each time.
    assert len(traces) == warm or BACKEND == "torch"


def test_no_dropout_is_a_dropout_of_zero(rng):
    model = compile_(modals_model(policy=ZERO))
    scheduler = PolicyScheduler(PolicySchedule([(1, ZERO, {"dropout": 0.0})]))
    model.fit(*make_data(rng), callbacks=[scheduler], verbose=0)
    assert model.latent_augmentation.dropout is None


@pytest.mark.parametrize(
    ("policy", "values", "message"),
    [
        (Policy({"gaussian_noise": (0.5, 0.5)}), {}, "operations and operation counts"),
        (ZERO, {"prior_weight": 0.1}, "prior_weight=0.1"),
        (ZERO, {"dropout": 0.5}, "dropout=0.5"),
        (ZERO, {"momentum": 0.1}, "'momentum'"),
    ],
)
def test_scheduler_refuses(policy, values, message, rng):
    model = compile_(modals_model(policy=ZERO), triplet_weight=0.5)
    scheduler = PolicyScheduler(PolicySchedule([(1, policy, values)]))
    with pytest.raises(ValueError, match=message):
        model.fit(*make_data(rng), verbose=0, callbacks=[scheduler])


def test_scheduler_needs_a_modals_model():
    plain = keras.Sequential([keras.layers.Dense(2)])
    plain.compile("sgd", "mse")
    scheduler = PolicyScheduler(PolicySchedule([(1, ZERO)]))
    with pytest.raises(ValueError, match="needs a `keras_modals"):
        plain.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[scheduler])
