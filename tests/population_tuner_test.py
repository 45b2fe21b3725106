import inspect
import re

import keras
import keras_tuner
import numpy as np
import pytest
from portable import tensorflow_only
from problems import NUM_CLASSES, compile_, make_data, modals_model, plain_model

import keras_modals
from keras_modals import Policy, PolicyScheduler
from keras_modals._src.tuners.arguments import TUNER_UNUSED
from keras_modals._src.tuners.entry import PARENT, Entry
from keras_modals.tuners import (
    PopulationBasedOracle,
    PopulationBasedTuner,
    policy_space,
)

EPOCHS = 2


def build(hp):
    model = modals_model(
        policy=policy_space(hp, ("gaussian_noise", "difference_transform"), 1),
        dropout=hp.Float("dropout", 0.0, 0.5, default=0.1),
        seed=None,
    )
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    return compile_(
        model,
        keras.optimizers.Adam(rate),
        triplet_weight=hp.Float("triplet_weight", 0.0, 0.5, default=0.0),
        prior_weight=hp.Float("prior_weight", 0.0, 0.1, default=0.0),
        # A search compiles once and takes many steps.
        run_eagerly=False,
    )


def make_tuner(folder, build=build, **arguments):
    arguments = {
        "objective": "val_accuracy",
        "population_size": 4,
        "generations": 3,
        "epochs_per_generation": EPOCHS,
        "seed": 1,
        "directory": str(folder),
        "project_name": "search",
        **arguments,
    }
    return PopulationBasedTuner(build, **arguments)


@pytest.fixture
def data(rng):
    x, y = make_data(rng)
    x_val, y_val = make_data(rng)
    # The task is hard enough for scores to differ.
    return {"x": x / 3, "y": y, "validation_data": (x_val / 3, y_val)}


def search(tuner, data, **arguments):
    settings = {"verbose": 0, "batch_size": 32, "shuffle": False, **arguments}
    tuner.search(**data, **settings)
    return tuner


def scores(tuner):
    return {
        (entry.generation, entry.member): entry.trial.score
        for entry in tuner.population.entries()
    }


def test_search_and_what_comes_of_it(tmp_path, data, capsys):
    tuner = search(make_tuner(tmp_path), data)
    assert capsys.readouterr().out == ""
    best = tuner.oracle.get_best_trials(1)[0]
    # The model is the one that was scored.
    (model,) = tuner.get_best_models()
    _, accuracy = model.evaluate(*data["validation_data"], verbose=0)
    assert float(accuracy) == pytest.approx(best.score, abs=1e-6)
    assert model.latent_augmentation.policy.operation_counts == (0.2, 0.7, 0.1)

    schedule = tuner.best_schedule()
    assert schedule.epochs == 3 * EPOCHS
    final = tuner._final_best()
    _, accuracy = tuner.best_model().evaluate(*data["validation_data"], verbose=0)
    assert accuracy == pytest.approx(final.score, abs=1e-6)
    last = final.hyperparameters.values
    assert schedule.segments[-1].values == {
        name: last[name]
        for name in ("dropout", "learning_rate", "triplet_weight", "prior_weight")
    }
    assert schedule.segments[0].policy == Policy.zero(
        ("gaussian_noise", "difference_transform"), 1
    )
    tuner.results_summary()
    lines = capsys.readouterr().out.splitlines()
    # Long policies are wrapped below the number of their generation.
    generations = [line[:10].strip() for line in lines[2:]]
    assert [int(each) for each in generations if each] == [1, 2, 3]
    # The schedule trains a model other than the one with which it was found.
    values = {"triplet_weight": 0.5, "prior_weight": 0.1}
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    retrained = build(hp)
    scheduler = PolicyScheduler(schedule)
    retrained.fit(data["x"], data["y"], epochs=4, verbose=0, callbacks=[scheduler])


def test_a_search_is_reproducible_and_goes_on(tmp_path, data):
    whole = scores(search(make_tuner(tmp_path / "whole"), data))
    assert len(whole) == 12
    assert len(set(whole.values())) > 3

    class KilledError(Exception):
        pass

    tuner = make_tuner(tmp_path / "parts")
    ended = []

    def on_trial_end(trial):
        PopulationBasedTuner.on_trial_end(tuner, trial)
        ended.append(trial)
        if len(ended) == 6:
            raise KilledError

    tuner.on_trial_end = on_trial_end
    with pytest.raises(KilledError):
        search(tuner, data)
    again = make_tuner(tmp_path / "parts")
    assert len(scores(again)) == 6
    search(again, data)
    assert scores(again) == pytest.approx(whole)
    # There is nothing left to do.
    search(make_tuner(tmp_path / "parts"), data)


class FirstLoss(keras.callbacks.Callback):
    """Records the task loss on the training data before the first step."""

    losses: list = []

    def on_train_begin(self, logs=None):
        x, y = FirstLoss.data
        prediction = self.model(x, training=False)
        loss = keras.losses.sparse_categorical_crossentropy(y, prediction)
        optimizer = self.model.optimizer
        memory = self.model.latent_augmentation.memory
        FirstLoss.losses.append(
            {
                "loss": keras.ops.convert_to_numpy(loss).mean(),
                "steps": int(optimizer.iterations),
                "prior_steps": int(self.model.optimizers[-1].iterations),
                "rate": float(optimizer.learning_rate),
                "policy": self.model.latent_augmentation.policy,
                "memory": int(keras.ops.sum(memory.counters[:, 0])),
            }
        )

    def on_train_end(self, logs=None):
        self.on_train_begin()


def test_a_child_goes_on_from_its_parent(tmp_path, data):
    FirstLoss.data, FirstLoss.losses = (data["x"], data["y"]), []
    tuner = search(make_tuner(tmp_path), data, callbacks=[FirstLoss()])
    begins, ends = FirstLoss.losses[::2], FirstLoss.losses[1::2]
    ids = [entry.trial_id for entry in tuner.population.entries()]
    end_of = dict(zip(ids, ends, strict=True))
    steps = EPOCHS * 3
    exploited = 0
    for entry, begin in zip(tuner.population.entries(), begins, strict=True):
        assert begin["steps"] == begin["prior_steps"] == entry.generation * steps
        assert begin["rate"] == pytest.approx(entry.values["learning_rate"])
        if entry.generation == 0:
            assert begin["memory"] == 0
            continue
        parent = end_of[entry.values[PARENT]]
        assert begin["loss"] == pytest.approx(parent["loss"], rel=1e-5)
        assert begin["memory"] == parent["memory"] > 0
        other = Entry(tuner.population.trials[entry.values[PARENT]]).member
        if other != entry.member:
            exploited += 1
            assert (begin["policy"], begin["rate"]) != (
                parent["policy"],
                parent["rate"],
            )
    assert exploited > 0
    # Members of the first generation begin differently, and train differently.
    assert len({begin["loss"] for begin in begins[:4]}) == 4


@tensorflow_only
def test_one_model_is_compiled_and_traced(tmp_path, data):
    traces, builds = [], []

    def counted(hp):
        builds.append(1)
        model = build(hp)
        model.run_eagerly = False
        step = model.train_step
        model.train_step = lambda *args: traces.append(1) or step(*args)
        return model

    tuner = make_tuner(tmp_path, counted, generations=1)
    search(tuner, data)
    first = len(traces)
    longer = make_tuner(tmp_path / "longer", counted)
    traces.clear()
    search(longer, data)
    assert len(traces) == first


def test_other_models_are_built_where_they_must_be(tmp_path, data):
    def sized(hp):
        inputs = keras.Input((8,))
        hidden = keras.layers.Dense(hp.Choice("units", [4, 8]), "relu")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(NUM_CLASSES, "softmax")(hidden))
        model = keras_modals.augment(model, num_classes=NUM_CLASSES)
        return compile_(model)

    tuner = make_tuner(tmp_path, sized, initial="random", seed=3)
    search(tuner, data)
    units = {entry.values["units"] for entry in tuner.population.entries(0)}
    assert units == {4, 8}
    assert all(entry.completed for entry in tuner.population.entries())
    with pytest.raises(ValueError, match="declared no policy"):
        tuner.best_schedule()


def test_members_that_fail_are_replaced(tmp_path, data):
    class Fails(keras.callbacks.Callback):
        calls: list = []

        def on_epoch_begin(self, epoch, logs=None):
            self.calls.append(epoch)
            if len(self.calls) == 3:
                raise RuntimeError("no memory left")

    tuner = search(make_tuner(tmp_path), data, callbacks=[Fails()])
    entries = tuner.population.entries()
    failed = [entry for entry in entries if not entry.completed]
    assert len(failed) == 1
    assert len(entries) == 12
    assert "no memory left" in failed[0].trial.message
    assert failed[0].trial_id not in {entry.values[PARENT] for entry in entries}


def test_a_member_that_diverges_fails(tmp_path, data):
    class Diverges(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            if self.model.optimizer.learning_rate > 0.02:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    tuner = make_tuner(tmp_path, initial="random", objective="val_loss")
    search(tuner, data, callbacks=[Diverges()])
    for entry in tuner.population.entries():
        assert entry.completed == (entry.values["learning_rate"] <= 0.02)
    failed = [e for e in tuner.population.entries() if not e.completed]
    assert failed
    assert "not finite" in failed[0].trial.message


def test_a_search_of_failures_says_why(tmp_path, data):
    class Fails(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise RuntimeError("no memory left")

    with pytest.raises(RuntimeError, match="no memory left"):
        search(make_tuner(tmp_path), data, callbacks=[Fails()])


def test_further_numbers_can_be_assigned(tmp_path, data):
    seen = []

    def with_decay(hp):
        hp.Float("decay", 0.0, 1.0, default=0.5)
        return build(hp)

    tuner = make_tuner(
        tmp_path, with_decay, assign={"decay": lambda model, value: seen.append(value)}
    )
    search(tuner, data)
    assert seen == [entry.values["decay"] for entry in tuner.population.entries()]
    assert len(set(seen)) > 1


def test_progress(tmp_path, data, capsys):
    tuner = search(make_tuner(tmp_path), data, verbose=1)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3
    for index, line in enumerate(lines):
        assert re.match(
            rf"generation {index + 1}/3, member 4/4, best val_accuracy 0\.\d+ with .*"
            r"learning_rate .* left",
            line,
        )
    # The next search is silent, as requested.
    search(tuner, data)
    assert capsys.readouterr().out == ""
    assert tuner.oracle.is_finished


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_data": None}, "validation"),
        ({"epochs": 3}, "epochs=3"),
        ({"initial_epoch": 3}, "initial_epoch=3"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_refuses(arguments, message, tmp_path, data):
    tuner = make_tuner(tmp_path)
    with pytest.raises(ValueError, match=message):
        tuner.search(**{**data, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executions_per_trial": 2}, "another `seed`. Received: executions_per_trial"),
        ({"max_trials": 9}, "Use `population_size` .* Received: max_trials=9"),
        ({"max_retries_per_trial": 1}, "max_retries_per_trial=1"),
        ({"max_consecutive_failed_trials": 1}, "max_consecutive_failed_trials=1"),
        ({"max_model_size": 9}, "max_model_size=9"),
        ({"optimizer": "sgd"}, "in the build function. Received: optimizer=sgd"),
        ({"loss": "mse"}, "loss=mse"),
        ({"metrics": ["mse"]}, "metrics="),
        ({"distribution_strategy": 1}, "in its scope .* distribution_strategy=1"),
        ({"logger": 1}, "logger=1"),
        ({"build": None}, "hypermodel=None"),
    ],
)
def test_arguments_that_would_do_nothing_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_tuner(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_every_argument_of_keras_tuner_acts_or_is_refused():
    tuner = set(inspect.signature(keras_tuner.Tuner.__init__).parameters)
    oracle = set(inspect.signature(keras_tuner.Oracle.__init__).parameters)
    refused = set(TUNER_UNUSED)
    ours = set(inspect.signature(PopulationBasedTuner.__init__).parameters)
    passed_on = {"oracle", "directory", "project_name", "tuner_id", "overwrite"}
    assert (tuner | oracle) - refused - ours == passed_on


def test_both_searches_have_the_same_arguments_and_results():
    one_run, tuner = keras_modals.SharedEncoderSearch, PopulationBasedTuner
    parameters = inspect.signature(one_run.__init__).parameters
    ours = inspect.signature(tuner.__init__).parameters
    oracles = inspect.signature(PopulationBasedOracle.__init__).parameters
    only = {"self", "model", "encoder_gradient", "vectorized", "name"}
    for name in set(parameters) - only:
        assert ours[name].default == parameters[name].default
        if name != "epochs_per_generation":
            assert oracles[name].default == parameters[name].default
    for name in ("best_model", "best_schedule", "results_summary"):
        assert callable(getattr(one_run, name))
        assert callable(getattr(tuner, name))


def test_refuses_other_models(tmp_path, data):
    def plain(hp):
        return compile_(plain_model())

    with pytest.raises(TypeError, match="must return a compiled"):
        search(make_tuner(tmp_path, plain), data)


@pytest.mark.parametrize("name", ["RandomSearch", "BayesianOptimization", "Hyperband"])
def test_policy_space_with_the_tuners_of_keras_tuner(name, tmp_path, data):
    limit = {"max_epochs": 2} if name == "Hyperband" else {"max_trials": 2}
    tuner = getattr(keras_tuner, name)(
        build, "val_accuracy", directory=str(tmp_path), seed=1, **limit
    )
    tuner.search(**data, epochs=1, verbose=0)
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    policy = policy_space(
        tuner.get_best_hyperparameters()[0],
        ("gaussian_noise", "difference_transform"),
        1,
    )
    assert policy != Policy.zero(("gaussian_noise", "difference_transform"), 1)
