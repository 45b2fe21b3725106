"""Tests what `compare` shows during training, and what it returns."""

import html
import re
import types

import keras
import numpy as np
import pytest
from compare_jobs_test import build
from portable import array
from problems import NUM_CLASSES, make_data
from streams_test import Batches

import keras_modals
from keras_modals._src.evaluation import estimate
from keras_modals._src.evaluation.compare import DEFAULT_METHODS
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.labels import Classes
from keras_modals.evaluation import METHODS, Comparison, Method, Trial

FAST = {"epochs": 2, "batch_size": 20, "verbose": 0}


def do_nothing(trial, model):
    return model


# During training ---------------------------------------------------------------


def test_the_default_methods_take_twelve_trainings():
    methods = [METHODS[name] for name in DEFAULT_METHODS]
    # Runs that two methods share are trained once.
    runs = {(m.train, *setting.items()) for m in methods for setting in m.grid}
    assert len(runs) == 12
    assert sum(len(method.grid) for method in methods) == 13
    assert {METHODS[name].trainings for name in DEFAULT_METHODS} == {1}


def test_what_methods_share_is_trained_once(rng):
    trained = []

    def train(trial, model, scale=1.0):
        trained.append((trial.seed, scale))
        return model

    methods = {
        "plain": Method(train),
        "tuned": Method(train, ({}, {"scale": 2.0})),
        "other": Method(do_nothing),
    }
    result = keras_modals.compare(build, make_data(rng), methods, 2, **FAST)
    assert trained == [(0, 1.0), (0, 2.0), (1, 1.0), (1, 2.0)]
    assert result.summary()["runs"].tolist() == [2, 2, 2, 2]
    scores = result.runs.query("split == 'test' and metric == 'log_loss'")
    scores = scores.set_index(["method", "seed"])["value"]
    assert scores["plain"].tolist() == scores["tuned"].tolist()


def test_says_how_many_trainings_there_are_before_the_first(rng, capsys):
    methods = {"a": Method(do_nothing, trainings=3), "b": do_nothing}
    arguments = {**FAST, "verbose": 2}
    keras_modals.compare(build, make_data(rng), methods, 2, **arguments)
    first, hint, *lines = capsys.readouterr().out.splitlines()
    # Per seed, `none` has one and `a` three, one of which is also that of `b`.
    assert re.fullmatch(
        r"8 trainings of 2 epochs: 3 methods, 2 seeds, about \d+ s", first
    )
    # There are 58 samples in batches of 20. After 100 epochs, there are 300 steps.
    assert hint == (
        "Each training has 6 steps, and mixing warms up for 100: use at least "
        "100 epochs"
    )
    assert len(lines) == 6
    assert lines[0].startswith("1/6 none, seed 0: validation accuracy 0.")
    assert lines[-1].endswith(" left")


def test_says_of_how_many_settings_methods_choose(rng, capsys):
    def train(trial, model, value):
        return trial.fit(model)

    methods = {"a": Method(train, ({"value": 1}, {"value": 2}))}
    keras_modals.compare(build, make_data(rng), methods, 1, **{**FAST, "verbose": 2})
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "3 trainings of 2 epochs: 2 methods with 3 settings, 1 seed, about"
    )


@pytest.mark.parametrize("epochs", [1, 2, 50])
@pytest.mark.parametrize("length", [1, 15, 33, 400])
@pytest.mark.parametrize("is_dataset", [True, False])
def test_the_time_of_a_training_is_that_of_its_parts(
    epochs, length, is_dataset, monkeypatch
):
    clock = types.SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(estimate, "time", clock)

    class SlowTrial(Trial):
        """The setup takes 5 seconds, each step 2, and the end of each epoch 3."""

        def fit(self, model, *data, callbacks, steps_per_epoch=None):
            (timer,) = callbacks
            clock.now += 5
            timer.on_train_begin()
            steps = -(-len(data[0]) // 4) if data else steps_per_epoch or length
            assert steps * self.epochs <= max(2 * length, 2)
            for epoch in range(self.epochs):
                for step in range(steps):
                    clock.now += 2
                    timer.on_train_batch_end(step)
                clock.now += 3
                timer.on_epoch_end(epoch)

    class SlowExperiment:
        kind = kind_of(Classes(NUM_CLASSES), (None, NUM_CLASSES))
        shares_datasets = False

        def start(self, index):
            clock.now += 11
            x, y = np.zeros((4 * length, 2)), np.zeros(4 * length, int)
            train = Batches(x, y, 4) if is_dataset else (x, y)
            trial = SlowTrial(train, train, self.kind, 0, epochs, 4)
            return trial, None, {}

        def scores(self, *arguments):
            clock.now += 7

    experiment = SlowExperiment()
    experiment.epochs = epochs
    steps, seconds = estimate.steps_and_seconds(experiment)
    assert steps == epochs * length
    assert seconds == 11 + 5 + epochs * (2 * length + 3) + 7


def test_says_what_runs_and_what_is_ahead(rng, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def ahead(trial, model):
        # All validation samples are predicted correctly.
        return METHODS["none"].train(trial, model)

    methods = {"trained": ahead}
    arguments = {**FAST, "verbose": 1, "epochs": 20}
    keras_modals.compare(build, make_data(rng), methods, 1, **arguments)
    shown = capsys.readouterr().out.split("\r")
    assert any("0/2, running none (seed 0)" in line for line in shown)
    assert re.search(r"1/2, \d+ s left, running trained \(seed 0\)", " ".join(shown))
    assert "2/2, 0 s left, leading on validation data: none" in shown[-1]
    assert shown[-1].endswith("\n")


def test_callbacks_are_made_for_each_training(rng):
    made = []

    def callbacks(run, seed):
        made.append((run, seed))
        return [keras.callbacks.History()]

    # The time is estimated, and the best model is trained again.
    arguments = {**FAST, "verbose": 1, "callbacks": callbacks}
    result = keras_modals.compare(
        build, make_data(rng), ["none", "SMOTE"], 2, **arguments
    )
    assert made == [("none", 0), ("SMOTE", 0), ("none", 1), ("SMOTE", 1)]
    result.best_model()
    assert len(made) == 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_shows_runs_apart(rng, tmp_path):
    import mlflow.keras

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.create_experiment("compare", artifact_location=(tmp_path / "a").as_uri())
    mlflow.set_experiment("compare")

    def callbacks(run, seed):
        mlflow.end_run()
        mlflow.start_run(run_name=f"{run}, seed {seed}")
        return [mlflow.keras.MlflowCallback()]

    keras_modals.compare(
        build, make_data(rng), ["latent mixing"], 2, callbacks=callbacks, **FAST
    )
    mlflow.end_run()
    runs = mlflow.search_runs()
    names = {f"{name}, seed {s}" for name in ("none", "latent mixing") for s in (0, 1)}
    assert set(runs["tags.mlflow.runName"]) == names
    assert runs["metrics.val_accuracy"].between(0, 1).all()


# Results -------------------------------------------------------------------------


def test_a_table_fits_a_terminal_and_a_notebook(rng):
    def fail(trial, model):
        raise RuntimeError("a < b " * 30)

    long = "latent mixing, oversampling"
    methods = {long: METHODS[long], "mixup": METHODS["mixup"], "fails": fail}
    with pytest.warns(UserWarning, match="fails"):
        result = keras_modals.compare(build, make_data(rng), methods, 2, **FAST)
    text = str(result)
    assert max(map(len, text.splitlines())) <= 88
    assert repr(result) == text
    assert re.search(r"mixup chose alpha=\S+, learning_rate=\S+(, \d of 2)?\n", text)
    page = result._repr_html_()
    assert page.count("<tr>") == 4
    assert html.escape("RuntimeError: a < b a < b") in page
    assert "a < b" not in page
    mean = result.summary().loc[("data", "mixup"), "mean"]
    assert f"{mean:.2f} ±" in text
    assert f"{mean:.2f} ±" in page
    assert "<th>chosen most often</th>" in page


def test_a_table_without_settings_has_no_column_for_them(rng):
    result = keras_modals.compare(build, make_data(rng), ["none"], 1, **FAST)
    page = result._repr_html_()
    assert "chosen most often" not in page
    assert page.count("<th>") == page.count("<td") == 5


@pytest.mark.parametrize("path", [None, "runs.csv"])
def test_the_best_model_is_that_which_validation_chose(path, rng, tmp_path):
    path = path and tmp_path / path
    x, y = make_data(rng, 200)
    data = {"train": (x[:80], y[:80]), "validation": (x[80:140], y[80:140])}
    data["test"] = x[140:], y[140:]
    methods = {"untrained": do_nothing, "latent mixing": METHODS["latent mixing"]}
    arguments = {**FAST, "epochs": 8, "path": path}
    result = keras_modals.compare(build, data, methods, 3, **arguments)
    scores = result.runs.query("split == 'validation' and metric == 'accuracy'")
    scores = scores.set_index(["method", "seed"])["value"]
    # Ties go to the first.
    best = scores.groupby("method", sort=False).mean().idxmax()
    assert result.best_method() == best
    assert best != "untrained"
    model = result.best_model()
    assert not isinstance(model, keras_modals.ModalsModel)
    accuracy = model.evaluate(*data["validation"], verbose=0, return_dict=True)
    assert accuracy["accuracy"] == pytest.approx(scores[best].max(), abs=1e-6)
    stored = list(tmp_path.glob("*.keras"))
    assert len(stored) == (path is not None)
    if path is None:
        return
    # Another process trains nothing.
    again = keras_modals.compare(
        build, data, dict.fromkeys(methods, fails_if_called), 3, **arguments
    )
    loaded = again.best_model()
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    for variable, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(array(variable), array(other))
    with pytest.raises(ValueError, match="Call `compare` again with the same"):
        Comparison.read(path).best_model()


def fails_if_called(trial, model):
    raise AssertionError


def test_the_best_of_errors_is_the_least(rng):
    x, y = make_data(rng)
    arguments = {**FAST, "metric": "log_loss", "epochs": 8}
    result = keras_modals.compare(
        build, (x, y), {"untrained": do_nothing}, 2, **arguments
    )
    losses = result.runs.query("split == 'validation' and metric == 'log_loss'")
    assert result.best_method() == losses.groupby("method")["value"].mean().idxmin()
    outputs = result.best_model().predict(x, verbose=0)
    assert outputs.shape == (len(x), NUM_CLASSES)


def test_a_best_model_is_of_its_own_data(rng, tmp_path):
    """One file has the runs of two data sets, and of a model that has changed."""
    x, y = make_data(rng, 185)
    arguments = {**FAST, "path": tmp_path / "runs.csv", "epochs": 3}

    def load(shift):
        parts = {"train": slice(0, 90), "validation": slice(90, 140)}
        parts["test"] = slice(140, 185)
        return lambda seed: {
            part: (x[rows] + shift, y[rows]) for part, rows in parts.items()
        }

    models = [
        keras_modals.compare(
            build, load(shift), ["none"], 1, dataset=str(shift), **arguments
        ).best_model()
        for shift in (0, 1)
    ]
    weights = [array(model.weights[0]) for model in models]
    assert np.abs(weights[0] - weights[1]).max() > 1e-3
    assert len(list(tmp_path.glob("*.keras"))) == 2
    (tmp_path / "runs.csv").unlink()

    def build_other():
        model = build()
        model.optimizer.learning_rate = 0.1
        return model

    other = keras_modals.compare(
        build_other, load(0), ["none"], 1, dataset="0", **arguments
    ).best_model()
    assert np.abs(array(other.weights[0]) - weights[0]).max() > 1e-3


def test_a_choice_among_methods_is_no_method_of_its_own(rng):
    methods = {"untrained": do_nothing}
    result = keras_modals.compare(build, make_data(rng), methods, 2, **FAST)
    chosen = result.with_choice("best")
    assert chosen.best_method() == result.best_method()
    assert chosen.best_model().predict(make_data(rng)[0], verbose=0).shape[1] == 3


def test_a_method_that_fails_with_some_seeds_has_the_others(rng):

    def fails(trial, model):
        if trial.seed < 2:
            raise RuntimeError("no memory left")
        return model

    with pytest.warns(UserWarning, match="'m' failed, RuntimeError") as caught:
        result = keras_modals.compare(build, make_data(rng), {"m": fails}, 4, **FAST)
    assert len([each for each in caught if "'m'" in str(each.message)]) == 1
    assert result.summary().loc[("data", "m"), "runs"] == 2
    assert result.skipped == {"m": "failed with seed 0, RuntimeError: no memory left"}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("label smoothing", {"smoothing": 0.1}),
        ("latent mixing", {"learning_rate": 2.0}),
    ],
)
def test_a_best_model_is_compiled_as_the_plain_one(name, setting, rng):
    """This holds even if a method recompiles it or changes its learning rate."""
    x, y = make_data(rng)
    methods = {"none": Method(METHODS[name].train, (setting,))}
    model = keras_modals.compare(build, (x, y), methods, 1, **FAST).best_model()
    plain = build()
    assert model.loss == plain.loss
    rates = [float(array(each.optimizer.learning_rate)) for each in (model, plain)]
    assert rates[0] == rates[1]
    accuracy = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    right = model.predict(x, verbose=0).argmax(-1) == y
    assert accuracy == pytest.approx(right.mean(), abs=1e-6)
