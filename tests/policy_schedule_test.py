import copy
import json
import math
import pickle
import time

import keras
import numpy as np
import pytest
from portable import BACKEND
from problems import compile_, make_data, modals_model

import keras_modals
from keras_modals import Policy, PolicySchedule, PolicyScheduler
from keras_modals._src.models.assignment import assign
from keras_modals._src.models.graph import find_layers

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
    # It returns copies.
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
    # Each boundary is within half an epoch of one of the original.
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
    '{"format": "keras_modals.PolicySchedule",\n "version": 1.0}': (2, "version=1.0"),
    '{"format": "keras_modals.PolicySchedule",\n "version": true}': (2, "=True"),
    '{"format": "keras_modals.PolicySchedule",\n "format": 2}': (
        2,
        "'format' is repea",
    ),
    '[{"a": [{}, [1],\n {"b": 1,\n "b": 2}], "c": 1, "c": 1}]': (3, "'b' is repeated"),
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
        ('"dropout": 0.5', '"dropout": "0.5"', "dropout='0.5'"),
        ('"dropout": 0.5', '"dropout": 1.0', "dropout=1.0"),
        ('"dropout": 0.5', '"dropout": NaN', "dropout=nan"),
        ('"dropout": 0.5', '"dropout": true', "dropout=True"),
        ('"dropout": 0.5', '"dropuot": 0.5', "Unknown key 'dropuot'"),
        ('"dropout": 0.5', '"learning_rate": 1e999', "learning_rate=inf"),
        ('"dropout": 0.5', '"prior_weight": -5', "prior_weight=-5"),
        ('"dropout": 0.5', '"dropout": 0.5, "dropout": 0.1', "'dropout' is repeated"),
        ('"epochs": 5', f'"epochs": {"1" * 200}', "at most 1000000000.*epochs=1{200}"),
        ('"epochs": 5', f'"epochs": {"1" * 4000}', "epochs=inf"),
        ('"epochs": 5', f'"epochs": {"1" * 5000}', "epochs=inf"),
        ("0.75", "true", r"gaussian_noise=\[\[True, 0.1\]\]"),
        ("0.75", "1" * 5000, "probability=inf"),
    ],
)
def test_names_the_line_at_fault(old, new, message, tmp_path):
    policy = Policy({"gaussian_noise": (0.75, 0.1)}, (0.3125, 0.6875))
    schedule = PolicySchedule([(3, policy), (5, policy, {"dropout": 0.5})])
    schedule.save(tmp_path / "schedule.json")
    text = (tmp_path / "schedule.json").read_text()
    # The last occurrence is in the second segment.
    position = text.rindex(old)
    line = text.count("\n", 0, position) + 1
    (tmp_path / "schedule.json").write_text(
        text[:position] + new + text[position + len(old) :]
    )
    with pytest.raises(ValueError, match=message) as error:
        PolicySchedule.load(tmp_path / "schedule.json")
    reported = int(str(error.value).split("line ")[1].split(":")[0])
    # An entry is reported at its line, and a missing one where its object begins.
    assert 0 <= line - reported <= 3


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], "at least one"),
        ([(0, ZERO)], "epochs=0"),
        ([(2.5, ZERO)], "epochs=2.5"),
        ([(2, "zero")], "policy='zero'"),
        ([(2, ZERO, {"dropout": "a"})], "dropout='a'"),
        ([(2, ZERO, [0.5])], "values=.0.5"),
        ([(2, ZERO, {"momentum": 0.5})], "must be among.*'momentum'"),
        ([(2, ZERO, {3: 0.5})], "must be among.*Received: 3"),
        ([(True, ZERO)], "epochs=True"),
        ([(10**10, ZERO)], "at most 1000000000. Received: epochs=10000000000"),
        ([(10**5000, ZERO)], "epochs=<int>"),
        ([(2,)], "is `.epochs, policy"),
        ([(2, ZERO), (2, Policy({"gaussian_noise": (0, 0)}))], "same operations"),
    ],
)
def test_refuses(segments, message):
    with pytest.raises(ValueError, match=message):
        PolicySchedule(segments)


#: Values just within and just out of bounds, also in float32, as variables are.
WITHIN = {
    "triplet_weight": (0, 0.999, np.float32(0.5)),
    "prior_weight": (0.0, 100, 1e30),
    "dropout": (0, 0.999, np.float64(0.5)),
    "learning_rate": (1e-30, 1, 10.0),
}
OUT = {
    "triplet_weight": (-0.1, 1, 1.0, 7.0, 1 - 1e-12),
    "prior_weight": (-5, -1e-9, 1e300, 10**5000),
    "dropout": (-3, 1.0, 2, 1 - 1e-12),
    "learning_rate": (-0.1, 0, 0.0, 1e-300, 10**400),
}
NEVER = (math.nan, math.inf, -math.inf, True, False, "0.5", None, [0.5])


@pytest.mark.parametrize("name", WITHIN)
def test_values_have_bounds(name, tmp_path):
    for value in WITHIN[name]:
        schedule = PolicySchedule([(1, ZERO, {name: value})])
        assert schedule.segments[0].values == {name: value}
        schedule.save(tmp_path / "schedule.json")
        assert PolicySchedule.load(tmp_path / "schedule.json") == schedule
    for value in OUT[name] + NEVER:
        with pytest.raises(ValueError, match=f"Expected a.* Received: {name}="):
            PolicySchedule([(1, ZERO, {name: value})])


def test_values_have_the_bounds_of_compile_and_of_the_layer():
    def refuses(name, value):
        try:
            if name in ("triplet_weight", "prior_weight"):
                compile_(modals_model(), **{name: value})
            else:
                keras_modals.LatentDropout(value)
        except ValueError:
            return True
        return False

    for name in ("triplet_weight", "prior_weight", "dropout"):
        as_python = [v for v in WITHIN[name] if not isinstance(v, np.generic | float)]
        assert not any(refuses(name, value) for value in as_python)
        assert all(refuses(name, value) for value in OUT[name][:2])


@pytest.mark.parametrize("name", WITHIN)
def test_what_is_assigned_has_bounds_too(name):
    model = compile_(
        modals_model(policy=ZERO, dropout=0.1),
        triplet_weight=0.5,
        prior_weight=0.1,
    )
    with pytest.raises(ValueError, match=f"Received: {name}=-1"):
        assign(model, ZERO, {name: -1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{\x00}\x00", "Expected JSON in UTF-8. Received: .* at byte 0"),
        ('{"format": "é"}'.encode("latin-1"), "UTF-8. Received: .* at byte 12"),
        (pickle.dumps(HALF), "Expected JSON in UTF-8"),
        (b"[" * 100_000, "brackets are nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "brackets are nested too deeply"),
        (b"", "line 1: not valid JSON"),
    ],
)
@pytest.mark.parametrize("kind", [Policy, PolicySchedule])
def test_refuses_what_is_no_text_of_a_value(kind, content, message, tmp_path):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"value.json.*{message}") as error:
        kind.load(path)
    assert "\n" not in str(error.value)


def test_the_line_at_fault_is_found_in_linear_time(tmp_path):
    path = tmp_path / "schedule.json"
    PolicySchedule([(1, ZERO, {"dropout": 0.5})] * 3000).save(path)
    text = path.read_text()
    position = text.rindex('"dropout": 0.5')
    path.write_text(text[:position] + text[position:].replace("0.5", "1.5"))
    start = time.process_time()
    with pytest.raises(ValueError, match=r"dropout=1\.5") as error:
        PolicySchedule.load(path)
    # Quadratic time would take minutes.
    assert time.process_time() - start < 20
    line = text.count("\n", 0, position) + 1
    assert f"line {line}:" in str(error.value)


class Observer(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        model = self.model
        (dropout,) = find_layers(model, keras_modals.LatentDropout)
        self.seen.append(
            (
                model.latent_augmentation.policy,
                round(float(model.term_weights["triplet_weight"]), 6),
                round(float(dropout.rate), 6),
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
    # Resume in the middle of the schedule.
    observer.seen.clear()
    model.fit(x, y, initial_epoch=3, epochs=4, **fit)
    assert observer.seen == [after]
    # PyTorch does not trace its eager steps, but calls them each time.
    assert len(traces) == warm or BACKEND == "torch"


def test_no_dropout_is_a_dropout_of_zero(rng):
    model = compile_(modals_model(policy=ZERO))
    scheduler = PolicyScheduler(PolicySchedule([(1, ZERO, {"dropout": 0.0})]))
    model.fit(*make_data(rng), callbacks=[scheduler], verbose=0)
    assert not find_layers(model, keras_modals.LatentDropout)


@pytest.mark.parametrize(
    ("policy", "values", "message"),
    [
        (Policy({"gaussian_noise": (0.5, 0.5)}), {}, "operations and operation counts"),
        (ZERO, {"prior_weight": 0.1}, "prior_weight=0.1"),
        (ZERO, {"dropout": 0.5}, "dropout=0.5"),
    ],
)
def test_scheduler_refuses(policy, values, message, rng):
    model = compile_(modals_model(policy=ZERO), triplet_weight=0.5)
    scheduler = PolicyScheduler(PolicySchedule([(1, policy, values)]))
    with pytest.raises(ValueError, match=message):
        model.fit(*make_data(rng), verbose=0, callbacks=[scheduler])


def test_scheduler_needs_a_schedule():
    with pytest.raises(ValueError, match=r"argument `schedule`.*schedule=Policy\("):
        PolicyScheduler(ZERO)


def test_scheduler_needs_a_modals_model():
    plain = keras.Sequential([keras.layers.Dense(2)])
    plain.compile("sgd", "mse")
    scheduler = PolicyScheduler(PolicySchedule([(1, ZERO)]))
    with pytest.raises(ValueError, match="needs a `keras_modals"):
        plain.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[scheduler])
