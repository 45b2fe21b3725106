"""What a member is, with callbacks: its score, its checkpoint, its next generation."""

import itertools
import threading

import keras
import keras_tuner
import numpy as np
import pytest
from population_tuner_test import make_tuner
from problems import make_data, modals_model

from keras_modals import Policy
from keras_modals._src.members.callback_states import CallbackStates
from keras_modals._src.tuners.entry import EPOCHS
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
        # What copies goes on with what it copied.
        "explore": lambda hp, value, rng: value,
        **arguments,
    }
    tuner = make_tuner(folder, builder(optimizer, declare), **settings)
    tuner.search(**data, **FIT, callbacks=callbacks)
    return tuner


class FirstWeights(keras.callbacks.Callback):
    """The weights that the members of the first generation begin with."""

    seen: list = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            self.seen.append(self.model.get_weights())


class Spoils(keras.callbacks.Callback):
    """Changes weights when Keras ends a training."""

    def on_train_end(self, logs=None):
        self.model.set_weights([0 * w for w in self.model.get_weights()])


class Shrinks(keras.callbacks.Callback):
    """Changes weights between validation and the next epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([0.9 * w for w in self.model.get_weights()])


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
        # Nothing is an improvement: it acts after the fourth epoch.
        keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.1, min_delta=99.0)
    ],
    "LearningRateScheduler": lambda: [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.05 / (1 + epoch))
    ],
    "own state": lambda: [Slows()],
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
    # The score is that of the checkpoint, and of what `get_best_models` loads.
    for entry in tuner.population.entries(GENERATIONS - 1):
        loaded = tuner.load_model(entry.trial)
        score = loaded.evaluate(*data["validation_data"], verbose=0)
        assert score == pytest.approx(entry.trial.score, rel=1e-5)
    (loaded,) = tuner.get_best_models()
    score = loaded.evaluate(*data["validation_data"], verbose=0)
    assert score == pytest.approx(tuner.oracle.get_best_trials(1)[0].score, rel=1e-5)


class Epochs(keras.callbacks.Callback):
    """The epochs that members train, and how many callbacks are told of."""

    seen: list = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append((epoch, self.params["epochs"]))


def test_a_training_that_is_stopped_is_over(tmp_path, data):
    Epochs.seen.clear()
    # Nothing is an improvement: it stops after the third epoch.
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
    """A learning rate that is searched, and reduced on a plateau."""
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
    # Another callback may come besides.
    tuner = search(tmp_path / "parts", data, [Epochs(), Slows()])
    assert scores(tuner) == pytest.approx(expected, rel=1e-5)


class Holds(keras.callbacks.Callback):
    """A callback with whatever state."""

    def __init__(self, value=None, **attributes):
        super().__init__()
        self.value = value
        vars(self).update(attributes)


def written(callbacks, begun=None):
    """What another process reads of callbacks' state, in copies of the originals."""
    model = builder(adam)(keras_tuner.HyperParameters())
    states = CallbackStates(callbacks)
    copies = [Holds(callback.value) for callback in callbacks]
    for callback in copies:
        callback.set_model(model)
        callback.set_params({"epochs": 3})
        begun(callback, model)
    content = states.write(copies, model, states.attributes(callbacks))
    other = builder(adam)(keras_tuner.HyperParameters())
    fresh = [Holds(callback.value) for callback in callbacks]
    for callback in fresh:
        callback.set_model(other)
        callback.set_params({"epochs": 5})
    states.read(content, fresh, other)
    return fresh, other


def test_what_belongs_to_the_model_is_the_models():
    def begin(callback, model):
        callback.parts = [model.layers[1], model.optimizer, model.trainable_weights[0]]
        callback.numbers = np.arange(3)

    (callback,), model = written([Holds()], begin)
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

    def begin(callback, model):
        callback.kept = [callback.value]

    (callback,), _ = written([Holds(function)], begin)
    callback.kept[0]()
    assert seen == [1]
    callbacks = [Holds(), Holds()]

    def link(callback, model):
        callback.me = callback

    (first, second), _ = written(callbacks, link)
    assert (first.me, second.me) == (first, second)


def test_what_shares_variables_with_the_model_is_made_anew():
    def begin(callback, model):
        callback.encoder = [keras.Model(model.inputs, model.layers[1].output)]
        callback.count = 3

    (callback,), _ = written([Holds()], begin)
    assert callback.count == 3
    assert not hasattr(callback, "encoder")


class Locks(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
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
    Epochs.seen.clear()
    with pytest.raises(ValueError, match=r"`Locks` cannot go on .* attribute `lock`"):
        search(tmp_path / "lock", data, [Locks(), Epochs()])
    # Before anything is trained.
    assert Epochs.seen == []
    small = {"generations": 2, "epochs_per_generation": 1}
    search(tmp_path / "left out", data, [LeavesOut()], **small)
    search(tmp_path / "file", data, [Writes(tmp_path / "log")], **small)
    assert (tmp_path / "log").read_text().split() == ["0", "0", "1", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [Holds(threading.Lock())]}, "callback `Holds`, which cannot"),
        ({"callbacks": ["EarlyStopping"]}, "Received: 'EarlyStopping'"),
        ({"callbacks": keras.callbacks.CSVLogger("log.csv")}, "append=True"),
        ({"callbacks": [keras.callbacks.BackupAndRestore("x")]}, "`BackupAndRestore`"),
        ({"validation_freq": 4}, "validation_freq=4, which leaves out epoch 2"),
        ({"validation_freq": [2, 6]}, "which leaves out epoch 4"),
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
