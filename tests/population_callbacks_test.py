"""Members with callbacks: the score, the checkpoint, the next generation."""

import copy
import itertools
import json
import pathlib
import pickle
import re
import threading

import keras
import keras_tuner
import numpy as np
import pytest
from population_tuner_test import make_tuner
from problems import NUM_CLASSES, make_data, modals_model

import keras_modals
from keras_modals import Policy
from keras_modals._src.members.callback_states import CallbackStates
from keras_modals._src.tuners.entry import EPOCHS
from keras_modals.evaluation import LatentMonitor
from keras_modals.tuners import policy_space

GENERATIONS, EPOCHS_EACH = 2, 3
TOTAL = GENERATIONS * EPOCHS_EACH


def builder(optimizer, declare=None):
    def build(hp):
        policy_space(hp, ("gaussian_noise",), 1)
        rate = hp.Float("learning_rate", 1e-3, 0.1, default=0.05) if declare else 0.05
        model = modals_model(
            policy=Policy.zero(("gaussian_noise",), 1), num_views=1, seed=None
        )
        model.compile(
            optimizer(rate), "sparse_categorical_crossentropy", run_eagerly=True
        )
        return model

    return build


def adam(rate):
    return keras.optimizers.Adam(rate)


def averaged(rate):
    return keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.8)


@pytest.fixture
def data(rng):
    x, y = make_data(rng, 24)
    x_val, y_val = make_data(rng, 24)
    return {"x": x, "y": y, "validation_data": (x_val, y_val)}


FIT = {"verbose": 0, "batch_size": 8, "shuffle": False}


def search(folder, data, callbacks, optimizer=adam, declare=None, **arguments):
    settings = {
        "objective": "val_loss",
        "population_size": 2,
        "generations": GENERATIONS,
        "epochs_per_generation": EPOCHS_EACH,
        # A member that copies continues with what it copied.
        "explore": lambda hp, value, rng: value,
        **arguments,
    }
    tuner = make_tuner(folder, builder(optimizer, declare), **settings)
    tuner.search(**data, **FIT, callbacks=callbacks)
    return tuner


class FirstWeights(keras.callbacks.Callback):
    """Records the weights with which members of the first generation begin."""

    seen: list = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            self.seen.append(self.model.get_weights())


class Spoils(keras.callbacks.Callback):
    """Changes the weights when Keras ends a training."""

    def on_train_end(self, logs=None):
        self.model.set_weights([0 * w for w in self.model.get_weights()])


class Shrinks(keras.callbacks.Callback):
    """Changes the weights between validation and the next epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([0.9 * w for w in self.model.get_weights()])


class Relative(keras.callbacks.Callback):
    """Sets a learning rate that is relative to the first."""

    def on_train_begin(self, logs=None):
        self.base = float(self.model.optimizer.learning_rate)

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.base / (1 + epoch)


class Slows(keras.callbacks.Callback):
    """Halves the learning rate every second epoch that it has seen."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1
        if self.seen % 2 == 0:
            self.model.optimizer.learning_rate = (
                0.5 * self.model.optimizer.learning_rate
            )


CASES = {
    "plain": lambda: [],
    "EarlyStopping": lambda: [
        keras.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    ],
    "averages": lambda: [],
    "averages scored": lambda: [keras.callbacks.SwapEMAWeights()],
    "averages kept": lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    "changed at the end": lambda: [Spoils()],
    "changed after validation": lambda: [Shrinks()],
    "ReduceLROnPlateau": lambda: [
        # Nothing counts as an improvement, so it acts after the fourth epoch.
        keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.1, min_delta=99.0)
    ],
    "LearningRateScheduler": lambda: [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.05 / (1 + epoch))
    ],
    "own state": lambda: [Slows()],
    "state of the beginning": lambda: [Relative()],
}


@pytest.mark.parametrize("case", CASES)
def test_a_lineage_is_one_training(case, tmp_path, data):
    optimizer = averaged if case.startswith("averages") else adam
    FirstWeights.seen.clear()
    tuner = search(tmp_path, data, [*CASES[case](), FirstWeights()], optimizer)
    best = tuner._final_best()
    lineage = tuner.population.lineage(best)
    model = builder(optimizer)(keras_tuner.HyperParameters())
    model.set_weights(FirstWeights.seen[tuner.population.entries(0).index(lineage[0])])
    history = model.fit(**data, **FIT, epochs=TOTAL, callbacks=CASES[case]()).history
    expected = history["val_loss"][EPOCHS_EACH - 1 :: EPOCHS_EACH]
    assert [trial.score for trial in lineage] == pytest.approx(expected, rel=1e-4)
    assert len(set(np.round(expected, 4))) == GENERATIONS
    # The score is that of the checkpoint, and of the model from `get_best_models`.
    for entry in tuner.population.entries(GENERATIONS - 1):
        loaded = tuner.load_model(entry.trial)
        score = loaded.evaluate(*data["validation_data"], verbose=0)
        assert score == pytest.approx(entry.trial.score, rel=1e-5)
    (loaded,) = tuner.get_best_models()
    score = loaded.evaluate(*data["validation_data"], verbose=0)
    assert score == pytest.approx(tuner.oracle.get_best_trials(1)[0].score, rel=1e-5)


class Epochs(keras.callbacks.Callback):
    """Records the epochs that members train, and the number that callbacks are told."""

    seen: list = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append((epoch, self.params["epochs"]))


def test_a_training_that_is_stopped_is_over(tmp_path, data):
    Epochs.seen.clear()
    # Nothing counts as an improvement, so it stops after the third epoch.
    stop = keras.callbacks.EarlyStopping(patience=2, min_delta=99.0)
    tuner = search(
        tmp_path, data, [stop, Epochs()], generations=3, epochs_per_generation=2
    )
    assert sorted(Epochs.seen) == [(epoch, TOTAL) for epoch in (0, 0, 1, 1, 2, 2)]
    first, second, third = tuner.population.lineage(tuner._final_best())
    assert first.score != second.score == third.score
    assert second.metrics.get_last_value(EPOCHS) == 1
    assert third.metrics.get_last_value(EPOCHS) == 0
    loaded = tuner.load_model(third)
    score = loaded.evaluate(*data["validation_data"], verbose=0)
    assert score == pytest.approx(third.score, rel=1e-5)
    # There is a policy for each epoch that was trained.
    assert tuner.best_schedule().epochs == 3


def test_what_training_made_of_a_value_stays(tmp_path, data):
    """The learning rate is searched, and also reduced on a plateau."""
    rates = []
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.1, min_delta=99.0)
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(logs["learning_rate"])
    )
    search(tmp_path, data, [plateau, see], declare=True, population_size=2)
    expected = [0.05 * 0.1 ** max(0, epoch - 1) for epoch in range(TOTAL)]
    # The logs have the rate of each epoch, before it is reduced.
    assert sorted(rates, reverse=True)[::2] == pytest.approx(expected, rel=1e-4)


def test_a_search_goes_on_with_the_state_of_its_callbacks(tmp_path, data):
    class Dies(Slows):
        runs = itertools.count()

        def on_epoch_begin(self, epoch, logs=None):
            if next(self.runs) == 7:
                raise KeyboardInterrupt

    def scores(tuner):
        return [entry.trial.score for entry in tuner.population.entries()]

    expected = scores(search(tmp_path / "whole", data, [Slows()]))
    Dies.__name__ = "Slows"
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "parts", data, [Dies()])
    # Another callback may be added.
    tuner = search(tmp_path / "parts", data, [Epochs(), Slows()])
    assert scores(tuner) == pytest.approx(expected, rel=1e-5)


class Holds(keras.callbacks.Callback):
    """A callback with any state."""

    def __init__(self, value=None, **attributes):
        super().__init__()
        self.value = value
        vars(self).update(attributes)


def written(callbacks, change):
    """Returns copies of callbacks with the state that another process reads, and their
    model."""
    model = builder(adam)(keras_tuner.HyperParameters())
    states = CallbackStates(callbacks)
    copies = begin(callbacks, model, epochs=3)
    begun = states.begin(copies, model)
    for callback in copies:
        change(callback, model)
    content = json.dumps(states.write(copies, model, begun))
    other = builder(adam)(keras_tuner.HyperParameters())
    fresh = begin(callbacks, other, epochs=5)
    states.read(json.loads(content), fresh, other)
    return fresh, other


def begin(callbacks, model, epochs):
    copies = [copy.deepcopy(callback) for callback in callbacks]
    for callback in copies:
        callback.set_model(model)
        callback.set_params({"epochs": epochs})
    return copies


def test_what_belongs_to_the_model_is_the_models():
    def change(callback, model):
        callback.parts = [model.layers[1], model.optimizer, model.trainable_weights[0]]
        callback.numbers = np.arange(3)

    (callback,), model = written([Holds()], change)
    assert callback.model is model
    assert callback.params == {"epochs": 5}
    assert callback.parts[0] is model.layers[1]
    assert callback.parts[1] is model.optimizer
    assert callback.parts[2] is model.trainable_weights[0]
    assert callback.numbers.tolist() == [0, 1, 2]


def test_functions_and_callbacks_are_the_same_ones():
    seen = []

    def function():
        seen.append(1)

    def change(callback, model):
        callback.kept = [callback.value]

    (callback,), _ = written([Holds(function)], change)
    callback.kept[0]()
    assert seen == [1]
    held = {7: [function], "a": None}
    (callback,), _ = written([Holds(held)], lambda c, model: c.value.update(b=1))
    assert callback.value == {**held, "b": 1}
    callbacks = [Holds(), Holds()]

    def link(callback, model):
        callback.me = callback

    (first, second), _ = written(callbacks, link)
    assert (first.me, second.me) == (first, second)


VALUES = [
    (None, True, 3, -0.5, float("inf"), "schön"),
    {"a": [1, (2, {3})], 7: frozenset({"b"}), (1, 2): {}},
    np.array([[1.5, 2.5]], "float16"),
    np.array(["2026-11-29"], "datetime64[D]"),
    np.array(["ab", "c"]),
    np.float32(0.1),
    np.zeros((0, 3), "int8"),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_what_is_written_is_what_is_read(value):
    (callback,), _ = written([Holds()], lambda c, model: setattr(c, "value", value))
    assert type(callback.value) is type(value)
    np.testing.assert_equal(callback.value, value)
    assert getattr(callback.value, "dtype", None) == getattr(value, "dtype", None)


def test_tensors_are_written():
    def change(callback, model):
        callback.value = keras.ops.cast([1.5, 2.5], "bfloat16")

    (callback,), _ = written([Holds()], change)
    assert keras.ops.is_tensor(callback.value)
    assert keras.backend.standardize_dtype(callback.value.dtype) == "bfloat16"
    assert keras.ops.convert_to_numpy(callback.value).tolist() == [1.5, 2.5]


def test_metrics_of_callbacks_are_written():
    (callback,), _ = written(
        [Holds(keras.metrics.Mean())], lambda c, model: c.value.update_state([1, 2])
    )
    assert float(callback.value.result()) == 1.5
    assert int(callback.value.count) == 2


def test_what_shares_variables_with_the_model_is_made_anew():
    def change(callback, model):
        callback.encoder = [keras.Model(model.inputs, model.layers[1].output)]
        callback.count = 3

    (callback,), _ = written([Holds()], change)
    assert callback.count == 3
    assert not hasattr(callback, "encoder")


def test_a_monitor_goes_on(data):
    x, y = data["validation_data"]
    monitor = LatentMonitor(x, y, {"gaussian_noise": 0.5})
    (callback,), _ = written([monitor], lambda c, model: c.on_epoch_end(0))
    assert callback.frame["epoch"].tolist() == [1] * NUM_CLASSES
    callback.on_epoch_end(1)
    second = callback.frame[callback.frame["epoch"] == 2]
    # This is another model, so its means are elsewhere.
    assert (second["drift"] > 0).all()


class Numbers(Holds):
    """A callback whose state is not a dict."""

    def __getstate__(self):
        return [self.value]

    def __setstate__(self, state):
        (self.value,) = state


def test_a_state_that_is_no_dict():
    (callback,), model = written(
        [Numbers(0)], lambda c, model: setattr(c, "value", np.arange(3))
    )
    assert callback.value.tolist() == [0, 1, 2]
    assert callback.model is model


class Counter:
    """An object that is not plain data."""

    def __init__(self):
        self.count = 0


def test_an_object_may_stay_as_it_was_but_not_change():
    def count(callback, model):
        callback.value.count += 1

    (callback,), _ = written([Holds(Counter())], lambda c, model: None)
    assert callback.value.count == 0
    with pytest.raises(ValueError, match=r"`value`.*a value of the class `Counter`"):
        written([Holds(Counter())], count)
    with pytest.raises(ValueError, match=r"`value`.*the class `Generator`"):
        written(
            [Holds(np.random.default_rng(0))], lambda c, model: c.value.normal(size=3)
        )


class Bomb:
    """Goes off when unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_a_folder_of_somebody_elses_runs_nothing(tmp_path, data):
    def interrupted(epoch, logs):
        if epoch == EPOCHS_EACH:
            raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_epoch_begin=interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, data, [stop])
    for path in (tmp_path / "search").glob("trial_*/checkpoint.json"):
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RuntimeError, match=r"checkpoint\.json cannot be loaded"):
        search(tmp_path, data, [])


def test_only_processes_unpickle_and_what_their_parents_made():
    package = pathlib.Path(keras_modals.__file__).parent
    reads = re.compile(r"pickle\.loads?\(|Unpickler|allow_pickle=True|joblib\.load")
    found = {p.name for p in package.rglob("*.py") if reads.search(p.read_text())}
    assert found == {"child.py", "jobs.py", "worker.py"}


class Locks(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.lock = threading.Lock()


class LeavesOut(Locks):
    def __getstate__(self):
        return {name: v for name, v in vars(self).items() if name != "lock"}


class Writes(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        self.file = self.path.open("a")

    def on_epoch_end(self, epoch, logs=None):
        self.file.write(f"{epoch}\n")

    def on_train_end(self, logs=None):
        self.file.close()


def test_what_cannot_be_kept_is_refused_by_name(tmp_path, data):
    with pytest.raises(ValueError, match=r"`Locks` cannot continue .* `lock`"):
        search(tmp_path / "lock", data, [Locks()])
    small = {"generations": 2, "epochs_per_generation": 1}
    search(tmp_path / "left out", data, [LeavesOut()], **small)
    search(tmp_path / "file", data, [Writes(tmp_path / "log")], **small)
    assert (tmp_path / "log").read_text().split() == ["0", "0", "1", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [Holds(threading.Lock())]}, "callback `Holds` cannot be copied"),
        ({"callbacks": ["EarlyStopping"]}, "Received: 'EarlyStopping'"),
        ({"callbacks": keras.callbacks.CSVLogger("log.csv")}, "append=True"),
        ({"callbacks": [keras.callbacks.BackupAndRestore("x")]}, "`BackupAndRestore`"),
        ({"validation_freq": 4}, "validation_freq=4, which skips epoch 2"),
        ({"validation_freq": [2, 6]}, "which skips epoch 4"),
    ],
)
def test_refuses(arguments, message, tmp_path, data):
    tuner = make_tuner(tmp_path, builder(adam), generations=3)
    with pytest.raises(ValueError, match=message):
        tuner.search(**data, **FIT, **arguments)


def test_validation_of_the_last_epochs_is_enough(tmp_path, data):
    data = {**data, "validation_freq": 3}
    tuner = search(tmp_path, data, [Epochs()], generations=2)
    assert all(entry.completed for entry in tuner.population.entries())

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with pytest.raises(ValueError, match="stops a training, `validation_freq=1`"):
        search(tmp_path / "stopped", data, [Stops()])


class Keeps(keras_tuner.HyperModel):
    """A hypermodel that does not pass the callbacks on."""

    def build(self, hp):
        return builder(adam)(hp)

    def fit(self, hp, model, *args, callbacks, **kwargs):
        return model.fit(*args, **{**kwargs, "epochs": 1})


def test_a_hypermodel_must_pass_the_callbacks_on(tmp_path, data):
    tuner = make_tuner(tmp_path, Keeps(), population_size=2)
    with pytest.raises(TypeError, match=r"must pass its `callbacks` to `model.fit`"):
        tuner.search(**data, **FIT)
