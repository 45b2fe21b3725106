import dataclasses
import logging
import os
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from portable import array, tensor, tensorflow_only
from problems import FEATURES, NUM_CLASSES, compile_, make_data, plain_model
from scipy import sparse, stats

import keras_modals
from keras_modals import Policy
from keras_modals._src.evaluation.data_checks import PARTS
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.mixing import BetaMixing
from keras_modals._src.evaluation.runs import COLUMNS, RunFile
from keras_modals._src.evaluation.statistics import holm
from keras_modals._src.labels import Classes
from keras_modals.evaluation import METHODS, Comparison, Method, Trial

KIND = kind_of(Classes(NUM_CLASSES), (None, NUM_CLASSES))
FAST = {"epochs": 2, "batch_size": 20, "verbose": 0}


def build(run_eagerly=True):
    """Runs eagerly by default, since tracing would take longer than the few steps."""
    optimizer = keras.optimizers.Adam(1e-2)
    return compile_(plain_model(), optimizer, run_eagerly=run_eagerly)


#: Methods that train like others, which have a test.
ONE_OF_A_KIND = ("none", "hard extrapolation", "gaussian noise", "difference transform")


def do_nothing(trial, model):
    return model


# Purpose of the harness ---------------------------------------------------------


def memory_of_labels(shift):
    """Moves latents to hard examples of their class, or of one `shift` after it."""

    def train(trial, model):
        policy = Policy({"hard_interpolation": (1.0, 0.8)}, operation_counts=(0, 1))
        augmented = keras_modals.augment(model, policy=policy, num_views=1)
        memory = augmented.latent_augmentation.memory
        update = memory.update

        def update_shifted(latents, labels, *arguments, **keywords):
            labels = (labels + shift) % NUM_CLASSES
            update(latents, labels, *arguments, **keywords)

        memory.update = update_shifted
        return trial.fit(augmented)

    return train


def test_a_method_that_is_broken_shows_as_a_loss(rng):
    sizes = {"train": 180, "validation": 60, "test": 600}
    result = keras_modals.compare(
        lambda: build(run_eagerly=False),
        {part: make_data(rng, size) for part, size in sizes.items()},
        {"intact": memory_of_labels(0), "broken": memory_of_labels(1)},
        seeds=5,
        epochs=10,
        monitor=None,
        verbose=0,
    )
    table = result.summary().loc["data"]
    assert table.loc["broken", "verdict"] == "worse"
    assert table.loc["broken", "change"] < -10
    assert table.loc["intact", "verdict"] != "worse"
    assert "worse" in str(result)


def test_methods_that_are_alike_differ_by_nothing(rng):
    result = keras_modals.compare(
        build, make_data(rng), {"again": METHODS["none"]}, 2, **FAST
    )
    assert result.changes("data", "again").tolist() == [0.0, 0.0]
    assert result.summary().loc[("data", "again"), "verdict"] == "no difference"


#: Methods that need unlabeled samples.
WITHOUT_LABELS = (
    "latent mixing, unlabeled",
    "interpolation consistency",
    "pseudo-labels",
    "mean teacher",
    "all labels",
)

# The methods -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS
        if name not in (*ONE_OF_A_KIND, *WITHOUT_LABELS, "C-Mixup", "population search")
    ],
)
def test_every_method_trains_and_reports(name, rng):
    x, y = make_data(rng, 90)
    kept = np.flatnonzero((y > 0) | (np.arange(90) % 2 == 0))
    method = Method(METHODS[name].train, METHODS[name].grid[:1])
    result = keras_modals.compare(build, (x[kept], y[kept]), {name: method}, 1, **FAST)
    assert result.skipped == {}
    table = result.summary().loc["data"]
    assert table.loc[name, "runs"] == 1


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_methods_that_learn_from_samples_without_labels(name, rng):
    x, y = make_data(rng, 150)
    method = Method(METHODS[name].train, METHODS[name].grid[:1])
    for unlabeled, reason in (
        (None, "needs "),
        (x[90:], "needs the true" if name == "all labels" else None),
        ((x[90:], y[90:]), None),
    ):
        arguments = {**FAST, "unlabeled": unlabeled}
        result = keras_modals.compare(
            build, (x[:90], y[:90]), {name: method}, 1, **arguments
        )
        if reason:
            assert f"not applicable, {reason}" in result.skipped[name]
        else:
            assert result.summary().loc[("data", name), "runs"] == 1


def test_all_labels_take_as_many_steps(rng):
    x, y = make_data(rng, 120)
    steps = {}

    def callbacks(run, seed):
        def count(logs):
            steps[run] = steps.get(run, 0) + callback.params["steps"]

        callback = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: count(logs)
        )
        return [callback]

    data = {"train": (x[:30], y[:30]), "validation": (x[30:60], y[30:60])}
    data |= {"test": data["validation"], "unlabeled": (x[60:], y[60:])}
    keras_modals.compare(
        build,
        data,
        ["all labels"],
        1,
        **{**FAST, "epochs": 6, "batch_size": 10},
        callbacks=callbacks,
    )
    # 6 epochs of 3 batches, and 2 of 9.
    assert steps == {"none": 18, "all labels": 18}


def test_samples_to_judge_by_are_not_learned_from(rng):
    x, y = make_data(rng, 90)
    data = {"train": (x[:30], y[:30]), "validation": (x[30:60], y[30:60])}
    data["test"] = x[60:], y[60:]
    for part in ("validation", "test"):
        with pytest.raises(ValueError, match=f"are those of '{part}'"):
            keras_modals.compare(build, data, unlabeled=data[part][0].copy(), **FAST)


def test_samples_to_judge_by_are_not_among_the_unlabeled(rng):
    x, y = make_data(rng, 90)
    with pytest.raises(ValueError, match="among which are those of 'validation'"):
        keras_modals.compare(build, (x, y), ["pseudo-labels"], unlabeled=x, **FAST)
    with pytest.raises(ValueError, match="Expected the inputs as one array"):
        keras_modals.compare(build, (x, y), unlabeled=x.tolist(), **FAST)
    # A few equal samples are a coincidence.
    others, _ = make_data(rng, 90)
    others[:10] = x[:10]
    keras_modals.compare(build, (x, y), ["none"], seeds=1, unlabeled=others, **FAST)


class Scaled(keras.losses.Loss):
    """A loss whose config does not have its factor."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, y, outputs):
        loss = keras.losses.sparse_categorical_crossentropy(y, outputs)
        return self.factor * loss


#: Methods that compile the model again, and whether they keep its loss.
RECOMPILING = {
    "none": True,
    "triplet": True,
    "input noise": True,
    "latent mixing": True,
    "latent mixing, unlabeled": True,
    "label smoothing": False,
}


def test_methods_train_with_the_settings_of_the_baseline(rng):
    x, y = make_data(rng, 60)

    def build_(loss):
        model = plain_model()
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
        return model

    trained = {}

    def looked_at(name):
        def train(trial, model):
            method = METHODS[name]
            trained[name] = method.train(trial, model, **method.grid[0])
            return trained[name]

        return train

    for loss in (Scaled(5.0), "sparse_categorical_crossentropy"):
        keeps = isinstance(loss, Scaled)
        names = [name for name, kept in RECOMPILING.items() if kept or not keeps]
        result = keras_modals.compare(
            partial(build_, loss),
            (x, y),
            {name: looked_at(name) for name in names},
            seeds=1,
            unlabeled=make_data(rng, 30)[0],
            **FAST,
        )
        assert result.skipped == {}
        for name in names:
            pattern = trained[name].optimizer._exclude_from_weight_decay_pattern
            assert pattern.pattern == "bias", name
            if keeps:
                assert trained[name].loss is loss, name


def test_members_of_a_population_have_the_terms_of_their_space(rng, monkeypatch):
    import keras_modals._src.tuners as tuners

    built = []

    class BuiltError(Exception):
        pass

    class Builder:
        def __init__(self, build, *args, **kwargs):
            built.append(build(None))
            raise BuiltError

    monkeypatch.setattr(tuners, "PopulationBasedTuner", Builder)

    def search(trial, model):
        model.optimizer.exclude_from_weight_decay(var_names=["bias"])
        space = {"triplet_weight": 0.03, "prior_weight": 0.01, "num_views": 2}
        method = METHODS["population search"].train
        with pytest.raises(BuiltError):
            method(trial, model, space=lambda hp: space)
        return trial.fit(model)

    keras_modals.compare(build, make_data(rng), {"search": search}, 1, **FAST)
    (member,) = built
    assert {term.kind: term.initial_weight for term in member.terms} == {
        "triplet": 0.03,
        "prior": 0.01,
    }
    assert member.optimizer._exclude_from_weight_decay_pattern.pattern == "bias"


def test_class_weights_may_have_the_names_of_classes(rng):
    x, y = make_data(rng)
    names = np.array(["a", "b", "c"])[y]
    sums = []

    def sum_of_weights(trial, model):
        trained = trial.fit(model)
        sums.append(sum(np.abs(each).sum() for each in trained.get_weights()))
        return trained

    for labels, weights in (
        (names, {"a": 9.0, "b": 1.0, "c": 1.0}),
        (names, {0: 9.0, 1: 1.0, 2: 1.0}),
        (names, {"a": 1.0, "b": 1.0, "c": 1.0}),
    ):
        keras_modals.compare(
            build,
            (x, labels),
            {"method": sum_of_weights},
            seeds=1,
            class_weight=weights,
            **FAST,
        )
    assert sums[0] == sums[1] != sums[2]
    for labels, message in ((names, r"among \['a', 'b', 'c'\]"), (y, "the indices")):
        with pytest.raises(ValueError, match=f"{message}.*the key 'd'"):
            keras_modals.compare(build, (x, labels), class_weight={"d": 2.0}, **FAST)


def test_a_schedule_is_scaled_as_a_learning_rate_is(rng):
    rates = {}

    def build_():
        schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5)
        return compile_(plain_model(), keras.optimizers.Adam(schedule))

    def looked_at(name, setting):
        def train(trial, model):
            trained = METHODS[name].train(trial, model, **setting)
            rates[name] = float(array(trained.optimizer.learning_rate))
            return trained

        return train

    methods = {
        "none": {},
        "mixup": {"alpha": 0.2, "learning_rate": 2.0},
        "latent mixing": {"learning_rate": 2.0},
    }
    methods = {name: looked_at(name, setting) for name, setting in methods.items()}
    result = keras_modals.compare(build_, make_data(rng), methods, 1, **FAST)
    assert result.skipped == {}
    for name in ("mixup", "latent mixing"):
        assert rates[name] == pytest.approx(2 * rates["none"], rel=1e-5)


@pytest.mark.parametrize("loss", ["crossentropy", "ce"])
def test_a_loss_that_keras_chooses_by_shapes(loss, rng):
    def build_(loss):
        model = plain_model()
        model.compile("adam", loss, metrics=["accuracy"], run_eagerly=True)
        return model

    data = make_data(rng)
    scores = []
    for each in (loss, "sparse_categorical_crossentropy"):
        result = keras_modals.compare(
            partial(build_, each),
            data,
            ["label smoothing", "latent mixing"],
            seeds=1,
            **FAST,
        )
        assert result.skipped == {}
        table = result.runs
        is_score = table["split"].isin(["validation", "test"])
        scores.append(table.loc[is_score, "value"].tolist())
    assert scores[0] == scores[1]


def test_weighted_metrics_of_class_indices(rng):
    def build_():
        model = plain_model()
        metrics = ["sparse_categorical_accuracy"]
        loss = "sparse_categorical_crossentropy"
        model.compile("adam", loss, weighted_metrics=metrics)
        return model

    def train(trial, model):
        model = METHODS["label smoothing"].train(trial, model, smoothing=0.2)
        x, y = trial.validation
        outputs = model.predict(x, verbose=0)
        logs = model.evaluate(x, np.eye(NUM_CLASSES)[y], verbose=0, return_dict=True)
        values = [value for name, value in logs.items() if name.endswith("accuracy")]
        assert values == pytest.approx([np.mean(outputs.argmax(-1) == y)])
        return model

    data = make_data(rng)
    result = keras_modals.compare(build_, data, {"smoothing": train}, 1, **FAST)
    assert result.skipped == {}


class OldCompile(keras.Model):
    """Overrides `compile` with the arguments of Keras 3.0."""

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
    ):
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics)


def test_methods_compile_a_model_that_overrides_compile(rng):
    def build_():
        model = plain_model()
        return compile_(OldCompile(model.input, model.output))

    result = keras_modals.compare(
        build_, make_data(rng), ["label smoothing"], 1, **FAST
    )
    assert result.summary().loc[("data", "label smoothing"), "runs"] == 1


def test_a_method_must_return_a_model(rng):
    methods = {"history": lambda trial, model: trial.fit(model).history}
    with pytest.warns(UserWarning, match="must return the trained model"):
        keras_modals.compare(build, make_data(rng), methods, 1, **FAST)


def test_population_search(rng):
    method = Method(METHODS["population search"].train, ({"population_size": 2},))
    arguments = {**FAST, "epochs": 6}
    result = keras_modals.compare(
        build, make_data(rng), {"search": method}, 1, **arguments
    )
    assert result.summary().loc[("data", "search"), "runs"] == 1


def test_what_makes_no_sense_is_said_and_left_out(rng):
    tokens = rng.integers(0, 9, (60, FEATURES)).astype("int32")
    result = keras_modals.compare(
        build, (tokens, np.arange(60) % 3), ["input noise", "SMOTE"], 1, **FAST
    )
    assert set(result.skipped) == {"input noise", "SMOTE"}
    assert "input noise: not applicable, needs inputs that are floats" in str(result)


def test_mixup_mixes_the_embeddings_of_tokens(rng):
    tokens = rng.integers(0, 9, (60, 5)).astype("int32")

    def build_():
        inputs = keras.Input((5,), dtype="int32")
        hidden = keras.layers.Embedding(9, 4)(inputs)
        hidden = keras.layers.GlobalAveragePooling1D()(hidden)
        outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
        return compile_(keras.Model(inputs, outputs))

    methods = ["mixup", "manifold mixup"]
    data = tokens, np.arange(60) % 3
    result = keras_modals.compare(build_, data, methods, 1, **FAST)
    assert result.skipped == {}
    assert len(result.summary()) == 3


@pytest.mark.parametrize("alpha", [0.4, 1.0, 2.0])
def test_the_shares_of_mixup_are_beta_distributed(alpha, rng):
    share = BetaMixing(alpha=alpha).share(tensor(1.0), tensor(rng.uniform(size=20_000)))
    assert stats.kstest(array(share), stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_a_setting_multiplies_the_learning_rate(rng):
    """This applies to rivals and to our methods."""
    rates = []

    class Watched(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            rates.append(float(array(self.model.optimizer.learning_rate)))

    setting = {"alpha": 1.0, "learning_rate": 2.0}
    methods = {
        "mixup": Method(METHODS["mixup"].train, (setting,)),
        "ours": Method(METHODS["latent mixing"].train, ({"learning_rate": 0.5},)),
        "none": METHODS["none"],
    }
    keras_modals.compare(
        lambda: compile_(plain_model(), keras.optimizers.SGD(0.01)),
        make_data(rng),
        methods,
        1,
        callbacks=[Watched()],
        **FAST,
    )
    assert sorted(rates) == pytest.approx([0.005, 0.01, 0.02])


def test_a_method_that_fails_does_not_end_the_others(rng):
    def fail(trial, model):
        raise RuntimeError("out of memory\nand more")

    methods = {"fails": fail, "nothing": do_nothing}
    with pytest.warns(UserWarning, match="'fails' failed, RuntimeError: out of memory"):
        result = keras_modals.compare(build, make_data(rng), methods, 2, **FAST)
    assert result.summary().loc["data"].index.tolist() == ["none", "nothing"]
    assert "fails: failed, RuntimeError: out of memory" in str(result)


def test_oversampling_and_class_weights_make_classes_equal(rng):
    x, y = make_data(rng, 60)
    kept = np.flatnonzero((y > 0) | (np.arange(60) < 12))
    seen = {}

    class Spy(Trial):
        def fit(self, model, *data, **arguments):
            seen.update(arguments, data=data)
            return model

    train = x[kept], y[kept]
    trial = Spy(train, train, KIND, 0, epochs=1, batch_size=20)
    METHODS["oversampling"].train(trial, build())
    assert np.bincount(seen["data"][1]).tolist() == [20, 20, 20]
    METHODS["class weights"].train(trial, build())
    counts = np.bincount(y[kept])
    shares = [seen["class_weight"][label] * counts[label] for label in range(3)]
    np.testing.assert_allclose(shares, len(kept) / 3)


def binary(loss, activation):
    def build_():
        model = keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(8, "relu"),
                keras.layers.Dense(1, activation),
            ]
        )
        optimizer = keras.optimizers.Adam(1e-2)
        return compile_(model, optimizer, loss=loss, run_eagerly=True)

    return build_


def test_probabilities_are_those_of_logits_and_of_one_output(rng):
    x, y = make_data(rng)
    y = (y == 1).astype("int32")
    sigmoid = keras_modals.compare(
        binary("binary_crossentropy", "sigmoid"), (x, y), ["label smoothing"], 2, **FAST
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    logits = keras_modals.compare(
        binary(loss, None), (x, y), ["label smoothing"], 2, **FAST, monitor="val_loss"
    )
    sigmoid.metric = logits.metric = "log_loss"
    level = sigmoid.summary().loc[("data", "none"), "mean"]
    assert logits.summary().loc[("data", "none"), "mean"] == pytest.approx(
        level, rel=0.1
    )


@pytest.mark.parametrize("method", ["mixup", "oversampling", "latent mixing", "SMOTE"])
def test_one_hot_labels_and_several_inputs(method, rng):
    x, y = make_data(rng)
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    hidden = keras.layers.Concatenate()([first, second])
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)

    def build_():
        model = keras.models.clone_model(keras.Model([first, second], outputs))
        return compile_(model, loss="categorical_crossentropy", run_eagerly=True)

    data = [x[:, :4], x[:, 4:]], np.eye(NUM_CLASSES, dtype="float32")[y]
    result = keras_modals.compare(build_, data, [method], 1, **FAST)
    assert set(result.skipped) == ({"SMOTE"} if method == "SMOTE" else set())
    assert len(result.summary()) == 2 - len(result.skipped)


# Data and settings -------------------------------------------------------------


def test_parts_share_no_sample_and_have_every_class(rng):
    x, y = make_data(rng, 100)
    x[:, 0] = np.arange(100)
    seen = []

    def look(trial, model):
        seen.append((trial.seed, trial.train, trial.validation))
        return model

    keras_modals.compare(build, (x, y), {"look": look}, [3, 4], **FAST)
    numbers = []
    for seed, (x_train, y_train), (x_valid, y_valid) in seen:
        assert (len(x_train), len(x_valid)) == (60, 20)
        assert set(y_train) == set(y_valid) == {0, 1, 2}
        numbers.append(set(x_train[:, 0]) | set(x_valid[:, 0]))
        assert len(numbers[-1]) == 80
        assert seed in (3, 4)
    assert numbers[0] != numbers[1]


def test_a_setting_is_chosen_by_validation_and_never_by_test_samples():
    rows = []
    for seed in (0, 1):
        rows += [
            ("d", "none", seed, "validation", "accuracy", 0.5),
            ("d", "none", seed, "test", "accuracy", 0.5),
        ]
        for setting, valid, test in (("a=1", 0.9, 0.6), ("a=2", 0.8, 0.99)):
            # Reverse the order for the second seed.
            valid = valid if seed == 0 else 1 - valid
            rows += [
                ("d", f"m({setting})", seed, "validation", "accuracy", valid),
                ("d", f"m({setting})", seed, "test", "accuracy", test),
            ]
    result = Comparison(pd.DataFrame(rows, columns=COLUMNS))
    chosen = result.to_dataframe().query("method == 'm' and split == 'test'")
    assert chosen["setting"].tolist() == ["a=1", "a=2"]
    assert "m chose a=1, 1 of 2" in str(result)
    np.testing.assert_allclose(result.changes("d", "m"), [10.0, 49.0])


def test_of_equals_the_likelihood_decides_in_whatever_order_they_came():
    rows = [
        ("d", method, 0, split, metric, value)
        for method, loss, test in (
            ("none", 0.5, 0.5),
            ("m(a=1)", 0.4, 0.1),
            ("m(a=2)", 0.3, 0.7),
        )
        for split, metric, value in (
            ("validation", "accuracy", 0.5),
            ("validation", "log_loss", loss),
            ("test", "accuracy", test),
        )
    ]
    for ordered in (rows, rows[::-1]):
        result = Comparison(pd.DataFrame(ordered, columns=COLUMNS))
        result = result.with_choice("best")
        assert result.changes("d", "m") == result.changes("d", "best") == [20.0]


def test_choosing_among_methods_by_validation():
    rows = []
    for method, validation, test in (
        ("none", (0.5, 0.5), (0.5, 0.5)),
        ("a(x=1)", (0.7, 0.6), (0.6, 0.1)),
        ("b", (0.6, 0.8), (0.2, 0.9)),
        ("c", (0.9, 0.9), (0.0, 0.0)),
    ):
        for split, scores in (("validation", validation), ("test", test)):
            rows += [
                ("d", method, seed, split, "accuracy", score)
                for seed, score in enumerate(scores)
            ]
    runs = Comparison(pd.DataFrame(rows, columns=COLUMNS))
    chosen = runs.with_choice("best", ["none", "a", "b"])
    np.testing.assert_allclose(chosen.changes("d", "best"), [10.0, 40.0])
    assert chosen.summary().loc[("d", "best"), "setting"] == "a(x=1), 1 of 2"
    others = chosen.summary().drop(("d", "best"))[["mean", "change"]]
    pd.testing.assert_frame_equal(others, runs.summary()[["mean", "change"]])
    with pytest.raises(ValueError, match=r"Received: methods=\['none', 'd'\]"):
        runs.with_choice("best", ["none", "d"])
    of_all = runs.with_choice("best").changes("d", "best")
    np.testing.assert_allclose(of_all, [-50.0, -50.0])
    late = ("d", "c", 2, "test", "accuracy", 1.0)
    more = pd.concat([runs.runs, pd.DataFrame([late], columns=COLUMNS)])
    np.testing.assert_allclose(
        Comparison(more).with_choice("best").changes("d", "best"), of_all
    )


def test_a_setting_without_arguments_is_the_default():
    rows = [
        ("d", method, seed, split, "accuracy", score)
        for method, score in (("none", 0.5), ("m", 0.7), ("m(a=1)", 0.6))
        for seed in (0, 1)
        for split in ("validation", "test")
    ]
    table = Comparison(pd.DataFrame(rows, columns=COLUMNS)).summary().loc["d"]
    assert table["setting"].to_dict() == {"none": "", "m": "default"}


def test_every_training_starts_from_the_same_weights(rng):
    starts = []

    def look(trial, model):
        starts.append(model.get_layer("head").get_weights()[0])
        return model

    data = make_data(rng)
    keras_modals.compare(build, data, {"a": look, "b": lambda *a: look(*a)}, 2, **FAST)
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.any(starts[0] != starts[2])


def test_the_best_epoch_is_restored_beside_callbacks_of_the_user(rng):
    x, y = make_data(rng)
    spoiled = []

    class Spoil(keras.callbacks.Callback):
        """Makes a model useless before each validation except the first."""

        def on_test_begin(self, logs=None):
            head = self.model.get_layer("head")
            if spoiled:
                head.set_weights([0 * weight for weight in head.get_weights()])
            spoiled.append(True)

    model = build()
    trial = Trial((x, y), (x, y), KIND, 0, epochs=3, batch_size=20)
    trial = dataclasses.replace(
        trial, monitor="val_accuracy", fit_arguments={"callbacks": [Spoil()]}
    )
    METHODS["none"].train(trial, model)
    assert len(spoiled) == 3
    assert np.all(model.get_layer("head").get_weights()[0] != 0)


def test_a_model_that_is_not_new_is_refused(rng):
    encoder = plain_model()

    def build():
        inputs = keras.Input((FEATURES,))
        outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(encoder(inputs))
        return compile_(keras.Model(inputs, outputs))

    with pytest.raises(ValueError, match=r"must return a new model.*with seed 0"):
        keras_modals.compare(build, make_data(rng), ["dropout"], 1, **FAST)


def test_the_dtype_policy_stays(rng):
    seen = []

    def look(trial, model):
        seen.append(model.get_layer("head").compute_dtype)
        return model

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        keras_modals.compare(build, make_data(rng), {"look": look}, 1, **FAST)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert seen == ["bfloat16"]


def test_inputs_of_any_scale_losses_in_a_list_and_names_of_metrics(rng):
    def build():
        model = plain_model()
        losses = ["sparse_categorical_crossentropy"]
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="right")]
        model.compile("adam", losses, metrics=metrics)
        return model

    x, y = make_data(rng)
    result = keras_modals.compare(
        build,
        (1000 * x, y),
        ["input noise", "label smoothing", "mixup"],
        1,
        monitor="val_right",
        callbacks=None,
        **FAST,
    )
    assert result.skipped == {}
    assert len(result.summary()) == 4


@pytest.mark.parametrize("resumed", [False, True])
def test_a_method_that_fails_once_goes_on_with_the_next_seed(resumed, rng, tmp_path):
    def fails(trial, model):
        if trial.seed == 1:
            raise RuntimeError("no memory left")
        return model

    data, arguments = make_data(rng), {**FAST, "path": tmp_path / "runs.csv"}
    if resumed:
        keras_modals.compare(build, data, {"m": fails}, 1, **arguments)
    with pytest.warns(UserWarning, match="failed with seed 1"):
        result = keras_modals.compare(build, data, {"m": fails}, 3, **arguments)
    assert "(n=2)" in str(result)
    assert result.summary()["runs"].to_dict() == {("data", "none"): 3, ("data", "m"): 2}
    assert "m: failed with seed 1, RuntimeError: no memory left" in str(result)


def test_a_file_keeps_what_was_trained_in_another_way_apart(rng, tmp_path, monkeypatch):
    arguments = {**FAST, "path": tmp_path / "runs.csv"}
    data, methods = make_data(rng), {"nothing": do_nothing}
    keras_modals.compare(build, data, methods, 1, **arguments)
    with pytest.raises(ValueError, match=r"other settings.*'epochs': 3"):
        keras_modals.compare(build, data, methods, 1, **{**arguments, "epochs": 3})
    with pytest.raises(ValueError, match="other settings"):
        keras_modals.compare(build, make_data(rng), methods, 1, **arguments)
    with pytest.raises(ValueError, match=r"other settings.*'shuffle': False"):
        keras_modals.compare(build, data, methods, 1, shuffle=False, **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "another")
        with pytest.raises(ValueError, match=r"other settings.*'another'"):
            keras_modals.compare(build, data, methods, 1, **arguments)
    weights = {**arguments, "dataset": "weighted"}
    keras_modals.compare(build, data, ["none"], 1, class_weight={0: 1.0}, **weights)
    with pytest.raises(ValueError, match="other settings"):
        keras_modals.compare(build, data, ["none"], 1, class_weight={0: 2.0}, **weights)
    arguments |= {"epochs": 3, "dataset": "NA"}
    for seeds in (1, 2, 1):
        result = keras_modals.compare(build, data, methods, seeds, **arguments)
        assert result.summary()["runs"].tolist() == [seeds, seeds]
    other = keras_modals.compare(build, data, ["none"], 1, **arguments)
    assert other.summary().index.tolist() == [("NA", "none")]
    assert len(Comparison.read(arguments["path"]).summary()) == 5


def test_a_grid_counts_when_all_of_it_ran(rng):
    def train(trial, model, fails):
        if fails and trial.seed == 1:
            raise RuntimeError
        return model

    method = Method(train, ({"fails": False}, {"fails": True}))
    with pytest.warns(UserWarning, match="failed"):
        result = keras_modals.compare(build, make_data(rng), {"m": method}, 2, **FAST)
    assert result.summary()["runs"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("scaled", "known", "own"),
    [(False, False, False), (True, False, True), (True, True, False)],
)
def test_seeds_with_test_samples_of_their_own(scaled, known, own, rng):
    x, y = make_data(rng, 80)

    def load(seed):
        parts = {
            "train": (x[:40], y[:40]),
            "validation": (x[40:60], y[40:60]),
            # Scale as a loader would by its training samples.
            "test": (x[60:] / (1 + scaled * seed), y[60:]),
        }
        return {**parts, "test_id": x[60:]} if known else parts

    result = keras_modals.compare(build, load, {"nothing": do_nothing}, 2, **FAST)
    assert result.runs.query("metric == 'test_to_train'").value.unique() == [0.5]
    tests = result.runs.query("metric == 'test_samples'").value.nunique()
    assert tests == 1 + own


def test_more_outputs_than_classes_in_the_data(rng):
    x, y = make_data(rng)
    data = x[y < 2], y[y < 2]
    seen = []

    def look(trial, model):
        seen.append(trial.num_classes)
        return METHODS["label smoothing"].train(trial, model, smoothing=0.1)

    result = keras_modals.compare(build, data, {"look": look}, 1, **FAST)
    assert seen == [NUM_CLASSES]
    assert result.skipped == {}


@pytest.mark.parametrize(
    "killed",
    [
        "data,nothing,2,tr",
        "data,nothing,2,train,seconds,0.1\ndata,nothing,2,validation,accu",
    ],
)
def test_a_second_call_goes_on(killed, rng, tmp_path):
    path = tmp_path / "runs.csv"
    built = []

    def count():
        built.append(1)
        return build()

    data, methods = make_data(rng), {"nothing": do_nothing}
    keras_modals.compare(count, data, methods, 2, path=path, **FAST)
    assert len(built) == 5
    # A process killed while writing leaves half a line. None of its run counts.
    text = path.read_text()
    path.write_text(text + killed)
    result = keras_modals.compare(count, data, methods, 3, path=path, **FAST)
    assert len(built) == 8
    assert result.summary()["runs"].tolist() == [3, 3]
    keras_modals.compare(count, data, methods, 1, path=path, dataset="other", **FAST)
    assert len(built) == 11
    again = Comparison.read(path)
    assert again.summary().index.unique("dataset").tolist() == ["data", "other"]
    assert path.read_text().startswith(text)
    # The file records that every seed had its own split, about 60% to 20%.
    ratio = again.runs.query("metric == 'test_to_train'").value.unique()
    np.testing.assert_allclose(ratio, 1 / 3, atol=0.02)
    tests = again.runs.query("dataset == 'data' and metric == 'test_samples'")
    assert tests.groupby("seed").value.nunique().tolist() == [1, 1, 1]
    assert tests.value.nunique() == 3


def test_run_file_in_memory_and_on_disk_read_the_same(tmp_path):
    files = RunFile(), RunFile(tmp_path / "new" / "runs.csv")
    for file in files:
        file.append("d", "m(a=1, b=2)", 0, {("test", "accuracy"): 0.25})
        assert file.finished("d") == set()
        file.append("d", "n", 0, {("test", "accuracy"): 0.25, ("train", "settings"): 7})
        assert file.finished("d") == {("n", 0)}
        assert file.finished("d", [("test", "accuracy")]) == {
            ("m(a=1, b=2)", 0),
            ("n", 0),
        }
        assert file.finished("other") == set()
    pd.testing.assert_frame_equal(*[file.read() for file in files], check_dtype=False)


# Damaged files ------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Returns the text of a file of four runs, its table, a function that resumes, and
    the list of seeds that its last call trained."""
    folder = tmp_path_factory.mktemp("stored")
    data = make_data(np.random.default_rng(0))
    trained = []

    def look(trial, model):
        trained.append(trial.seed)
        return model

    def go_on(content, seeds=2):
        path = folder / "runs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        trained.clear()
        methods = {"nothing, quoted": look}
        result = keras_modals.compare(build, data, methods, seeds, path=path, **FAST)
        return result, path

    result, path = go_on("")
    return path.read_text(), str(result), go_on, trained


def lines_without(text, *parts):
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not all(part in line for part in parts))


LAST = ',"nothing, quoted",1,'
DAMAGES = {
    "nothing": lambda text: text,
    "empty": lambda text: "",
    "a cut header": lambda text: text[:9],
    "a header without its end": lambda text: text.split("\n")[0],
    "the header alone": lambda text: text.split("\n")[0] + "\n",
    "a cut line": lambda text: text[:-30],
    "cut within a name": lambda text: text[: text.rindex("hing, quo")],
    "cut within the settings": lambda text: text[:-4],
    "cut before the last end of a line": lambda text: text[:-1],
    "cut at the end of a line": lambda text: text[: text.rindex("\n", 0, -1) + 1],
    "the first line of a run only": lambda text: text[
        : text.index("\n", text.index(LAST)) + 1
    ],
    "without its test lines": lambda text: lines_without(text, LAST, ",test,"),
    "without its settings": lambda text: lines_without(text, LAST, ",settings,"),
    "without its validation score": lambda text: lines_without(
        text, LAST, "validation,accuracy"
    ),
    "joined with the next": lambda text: text.replace(
        "data,none,1,validation,accuracy,", "data,none,1,valid", 1
    ),
    "cut, then gone on": lambda text: (
        text[: text.index(LAST) + 20] + text[text.index("data,none,0") :]
    ),
    "a flipped comma": lambda text: text.replace("1,test,accuracy", "1,test-accuracy"),
    "a flipped name in the first run": lambda text: text.replace(
        "none,0,test,accuracy", "nonf,0,test,accuracy"
    ),
    "a flipped name": lambda text: text.replace(
        "none,1,test,accuracy", "nonf,1,test,accuracy"
    ),
    "a block of zeros at the end": lambda text: text + 3 * "\0",
    "a large block of zeros": lambda text: text + 200_000 * "\0" + "\n",
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "ends of lines of Windows": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "two files in one": lambda text: text + text,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_goes_on_with_a_damaged_file(damage, stored):
    text, table, go_on, trained = stored
    damaged = DAMAGES[damage](text)
    result, path = go_on(damaged)
    assert str(result) == table
    # The file keeps its content, and all of it counts now.
    assert path.read_bytes().startswith(damaged.encode())
    assert str(go_on(path.read_bytes())[0]) == table
    assert trained == []


def flip(text, line_part, old, new):
    """Returns the text with one character changed in the value of a line."""
    start = text.index(line_part) + len(line_part)
    position = text.index(old, start)
    return text[:position] + new + text[position + 1 :]


REFUSED = {
    "no header": (lambda text: text.split("\n", 1)[1], "with the first line b'data,"),
    "other text": (lambda text: "hello", "with the first line b'hello'"),
    "semicolons": (lambda text: text.replace(",", ";"), "the first line b'dataset;me"),
    "UTF-16": (lambda text: text.encode("utf-16"), r"the first line b'.xff.xfed.x00"),
    "latin-1": (
        lambda text: text.replace(
            "data,none,0,test,log", "daté,none,0,test,log"
        ).encode("latin-1"),
        r"line 11: expected UTF-8.*Delete the line.*b'dat.xe9,none",
    ),
    "zeros within a line": (
        lambda text: text.replace("none,1,test,acc", "none,1,te\0\0,acc"),
        "line [0-9]+: .*Delete the line",
    ),
    "a text as a seed": (
        lambda text: text.replace("none,1,test,accuracy", "none,one,test,accuracy"),
        "line [0-9]+: .*numbers as seed.*Delete the line.*none,one",
    ),
    "a text as a value": (
        lambda text: flip(text, "none,1,test,accuracy,", ".", "n"),
        "line [0-9]+: .*numbers as seed and value.*Delete the line.*accuracy,0n",
    ),
    "a flipped bit in a score": (
        lambda text: flip(text, "none,1,test,log_loss,", ".", "\x2f"),
        "line [0-9]+: .*Delete the line",
    ),
    "a flipped bit in the settings": (
        lambda text: flip(text, "none,1,train,settings,", ".", "1"),
        "damaged value of its settings.*Delete the line.*data,none,1,train,settings",
    ),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_refuses_a_damaged_file(damage, stored):
    text, _, go_on, trained = stored
    change, message = REFUSED[damage]
    damaged = change(text)
    damaged = damaged if isinstance(damaged, bytes) else damaged.encode()
    with pytest.raises(ValueError, match=message) as error:
        go_on(damaged)
    assert "runs.csv" in str(error.value)
    assert "other settings" not in str(error.value)
    assert "\n" not in str(error.value)
    assert trained == []


@pytest.mark.parametrize(
    "damage", [name for name, (_, message) in REFUSED.items() if "line [" in message]
)
def test_what_a_refusal_says_helps(damage, stored):
    text, table, go_on, _ = stored
    damaged = REFUSED[damage][0](text)
    with pytest.raises(ValueError, match="Delete the line") as error:
        go_on(damaged)
    number = int(str(error.value).split("line ")[1].split(":")[0])
    lines = damaged.splitlines(keepends=True)
    result, _ = go_on("".join(lines[: number - 1] + lines[number:]))
    assert str(result) == table


def test_a_full_disk_leaves_a_file_to_go_on_with(tmp_path):
    resource = pytest.importorskip("resource")
    path, rows = tmp_path / "runs.csv", {("train", "settings"): 7}
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_room(size, fn):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                fn()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    for size in (0, 9):
        with_room(size, lambda: RunFile(path))
        assert path.stat().st_size == size
    file = RunFile(path)
    file.append("d", "m", 0, rows)
    assert file.finished("d") == {("m", 0)}
    # Another process continues after the truncated line.
    with_room(path.stat().st_size + 5, lambda: file.append("d", "m", 1, rows))
    file.append("d", "m", 2, rows)
    assert file.finished("d") == {("m", 0), ("m", 2)}


@pytest.mark.parametrize(
    "cut", ["d,\N{PILE OF POO}", 'd,"m, n', "d,m,2,train,settings,7"]
)
def test_a_line_that_was_cut_is_ended(cut, tmp_path):
    path, rows = tmp_path / "runs.csv", {("train", "settings"): 7}
    file = RunFile(path)
    whole = path.read_bytes()
    for end in (None, -1):
        path.write_bytes(whole + cut.encode()[:end])
        assert file.finished("d") == set()
        file.append("d", "m", 1, rows)
        assert file.finished("d") == {("m", 1)}
    # Someone deleted the file.
    path.unlink()
    file.append("d", "m", 1, rows)
    assert file.finished("d") == {("m", 1)}


def test_names_in_any_script_in_any_locale(tmp_path):
    code = f"""if True:
        import numpy as np, keras, keras_modals
        from keras_modals.evaluation import Comparison
        def build():
            layers = [keras.Input((2,)), keras.layers.Dense(2, "softmax")]
            model = keras.Sequential(layers)
            model.compile("sgd", "sparse_categorical_crossentropy",
                              metrics=["accuracy"])
            return model
        data = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
        methods = {{"m\\xe9thode \\u65b9": lambda trial, model: model}}
        for seeds in (1, 2):
            result = keras_modals.compare(
                build, data, methods, seeds, epochs=1, dataset="Stra\\xdfe",
                path={str(tmp_path / "runs.csv")!r}, verbose=2
            )
            print(ascii(result.summary()["runs"].to_dict()))
    """
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **locale},
    )
    assert run.returncode == 0, run.stderr
    expected = r"('Stra\xdfe', 'm\xe9thode \u65b9'): 2"
    assert expected in run.stdout.splitlines()[-1]
    assert "Straße,méthode 方,1,test,accuracy" in (
        (tmp_path / "runs.csv").read_text(encoding="utf-8")
    )


def test_a_file_without_runs_has_an_empty_table(tmp_path):
    RunFile(tmp_path / "runs.csv")
    result = Comparison.read(tmp_path / "runs.csv")
    columns = comparison([0.1, 0.2]).summary().columns
    assert result.summary().columns.tolist() == columns.tolist()
    assert len(result.summary()) == 0
    assert "Mean ± standard deviation" in str(result)


# Messages ----------------------------------------------------------------------


def comparison(changes, metric="accuracy"):
    rows = [
        ("d", method, seed, split, metric, 0.5 + change)
        for method, changes_ in {"none": [0.0] * len(changes), "m": changes}.items()
        for seed, change in enumerate(changes_)
        for split in ("validation", "test")
    ]
    return Comparison(pd.DataFrame(rows, columns=COLUMNS), metric)


@pytest.mark.parametrize(
    ("changes", "metric", "verdict"),
    [
        ([0.1, 0.11, 0.1, 0.12], "accuracy", "better"),
        ([-0.1, -0.11, -0.1, -0.12], "accuracy", "worse"),
        ([-0.1, -0.11, -0.1, -0.12], "log_loss", "better"),
        ([0.1, -0.1, 0.1, -0.05], "accuracy", "noise: needs "),
        ([0.0, 0.0, 0.0], "accuracy", "no difference"),
        ([0.25, -0.25, 0.0], "accuracy", "noise: needs more samples"),
        ([0.1], "accuracy", "needs more than one seed"),
    ],
)
def test_verdicts(changes, metric, verdict):
    result = comparison(changes, metric)
    assert verdict in result.summary().loc[("d", "m"), "verdict"]
    assert verdict in str(result)


@tensorflow_only
def test_tensorflow_does_not_warn_of_models_of_their_own(rng):
    logger, said = logging.getLogger("tensorflow"), []

    def warn(trial, model):
        logger.warning("5 out of the last 5 calls triggered tf.function retracing.")
        logger.warning("something else")
        return model

    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    keras_modals.compare(build, make_data(rng), {"warn": warn}, 1, **FAST)
    logger.warning("Elsewhere it triggered tf.function retracing.")
    logger.removeHandler(handler)
    assert said[:-1] == ["something else"]
    assert "retracing" in said[-1]


# Errors ------------------------------------------------------------------------

SPLIT = dict.fromkeys(PARTS, (np.zeros((3, FEATURES)), np.arange(3)))
X, Y = np.zeros((40, FEATURES)), np.arange(40) % 3
UNEQUAL = [np.zeros(3 + index % 5) for index in range(40)]


class Unequal:
    """Mimics TensorFlow's ragged tensors, which have no length."""

    shape = (40, None)

    def __array__(self, dtype=None, copy=None):
        return np.array(UNEQUAL, dtype=object)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[:20], Y[:20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["mixpu"]}, "Unknown method 'mixpu'. Did you mean 'mixup'"),
        ({"methods": {"a(b)": do_nothing}}, "without parentheses.*a\\(b\\)"),
        ({"seeds": 0}, "seeds=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"metric": "auc"}, "metric='auc'"),
        ({"verbose": 3}, "verbose=3"),
        ({"splits": (0.5, 0.5)}, "splits=\\(0.5, 0.5\\)"),
        ({"data": np.zeros(3)}, "argument `data`"),
        ({"data": {"train": (np.zeros(3), np.zeros(3))}}, "must have.*validation"),
        ({"data": (np.zeros((4, 8)), np.zeros(3))}, "\\[4\\] inputs and 3 targets"),
        ({"data": (np.zeros((2, 8)), np.array([0.5, 1]))}, r"Values\(\)`.*0\.5"),
        ({"data": (np.zeros((2, 8)), np.array([[0.5], [1]]))}, r"Values\(\)`.*0\.5"),
        ({"data": {**SPLIT, "test_id": np.arange(2)}}, "2 entries for 3 samples"),
        ({"build_fn": plain_model}, "compiled Keras model"),
        ({"seeds": []}, "seeds=\\[\\]"),
        ({"seeds": [1, 1]}, "seeds=\\[1, 1\\]"),
        ({"layer": "latnets"}, "No such layer: latnets"),
        ({"validation_split": 0.1}, "validation_split=0.1"),
        (
            {"data": (np.zeros((40, 8)), np.arange(40) % 4)},
            r"have 4 classes.*width; if labels start at 1.*\(None, 3\)",
        ),
        ({"build_fn": None}, "build_fn=None"),
        ({"build_fn": lambda hp: build()}, "without arguments.*build_fn=<function"),
        (
            {"methods": Y},
            r"`compare\(build_fn, \(x, y\)\)`.*<ndarray of shape \(40,\)>",
        ),
        ({"methods": Y.tolist()}, r"`compare\(build_fn, \(x, y\)\)`.*a list of 40"),
        ({"methods": None}, "Expected names of methods.*methods=None"),
        ({"methods": do_nothing}, "Expected names of methods.*do_nothing"),
        ({"methods": {"a": 3}}, r"function `fn\(trial, model\)`.*\{'a': 3\}"),
        ({"methods": {"a\nb": do_nothing}}, "printable characters.*'a.nb'"),
        ({"dataset": 3}, "argument `dataset`.*string.*dataset=3"),
        ({"dataset": "\udc80"}, r"argument `dataset`.*printable.*'\\udc80'"),
        ({"layer": 3}, "argument `layer`.*layer=3"),
        ({"monitor": 3}, "argument `monitor`.*monitor=3"),
        ({"seeds": "all"}, "argument `seeds`.*seeds='all'"),
        (
            {"data": (X, Y + 1)},
            r"have 4 classes.*; if labels start at 1, subtract 1\.",
        ),
        (
            {"data": ({"city": np.array(["a"] * 40), "age": X[:, 0]}, Y)},
            r"encode strings.*Received: data, entry 'city'",
        ),
        (
            {"data": (X, np.eye(4)[np.arange(40) % 4])},
            r"have 4 classes.*that width\. Received",
        ),
        ({"splits": 0.2}, "splits=0.2"),
        (
            {"splits": (0.01, 0.01)},
            r"too few samples.*other `splits`.*96 samples, 32 of the rarest class",
        ),
        (
            {"data": (X, np.minimum(np.arange(40), 2))},
            r"too few samples.*leave out the rarest.*1 of the rarest class",
        ),
        ({"splits": (0.2, float("nan"))}, "splits=.0.2, nan"),
        (
            {"sample_weight": np.ones(40)},
            r"Use `class_weight`.*<ndarray of shape \(40,\)",
        ),
        (
            {"data": SPLIT, "sample_weight": np.ones(40)},
            r"for the 3 samples of .data\['train'\]`. Received: .*\(40,\)",
        ),
        ({"data": X}, r"Expected pairs of arrays `\(x, y\)`.*shape \(40, 8\)"),
        ({"data": Batches()}, r"three or more batches.*data=<.*Batches"),
        ({"data": (Batches(), None)}, r"or datasets.*data=\(<.*Batches.*, None\)"),
        (
            {"data": iter([(X, Y)])},
            r"A generator yields its batches.*data=<list_",
        ),
        ({"data": {"train": Batches()}}, r"\"train\", \"validation\".*\['train'\]"),
        ({"data": {part: [] for part in PARTS}}, r"datasets.*data\['train'\]=\[\]"),
        ({"data": [(X, Y)]}, r"Expected pairs of arrays"),
        ({"data": {**SPLIT, "test": (X, Y, Y)}}, r"pairs.*data\['test'\]=.*\(40,\)>"),
        ({"data": lambda: SPLIT}, "function of a seed.*data=<function"),
        (
            {"data": lambda seed: (X, Y)},
            r'"train".*Received: .<ndarray of shape .40, 8.>, <',
        ),
        ({"data": (sparse.csr_matrix(X), Y)}, r"x.toarray\(\)`.*sparse .*\(40, 8\)"),
        ({"data": (X, sparse.csr_matrix(X))}, "targets a sparse matrix of shape"),
        ({"data": (X, Y.tolist())}, r"np.asarray\(y\)`.*targets a list of 40"),
        ({"data": (X, [Y, Y])}, "one array.*each output.*targets .<ndarray"),
        ({"data": (UNEQUAL, Y)}, r"pad_sequences\(x\)`. Received: .*a list of 40"),
        ({"data": (list(X), Y)}, r"np.stack\(x\)`.* Received: .*a list of 40"),
        ({"data": (X.tolist(), Y)}, r"np.stack\(x\)`.* Received: .*a list of 40"),
        (
            {"data": (np.array(UNEQUAL, dtype=object), Y)},
            r"pad_sequences\(x\)`. Received: .*shape \(40,\)>",
        ),
        (
            {"data": (Unequal(), Y)},
            r"pad_sequences\(x\)`. Received: .*Unequal of shape",
        ),
        ({"data": (X.astype(str), Y)}, r"astype\('float32'\)`.*dtype object"),
        ({"data": (X.astype(object), Y)}, r"astype\('float32'\)`.*dtype object"),
        ({"build_fn": lambda: logits()}, "not probabilities"),
        (
            {"build_fn": lambda: keras_modals.augment(build())},
            "must return the plain model.*which has a `LatentAugmentation`",
        ),
        ({"methods": list("abc") * 9}, r"compare\(build_fn, \(x, y\)\).*a list of 27"),
        (
            {"data": (X, np.eye(3)[Y])},
            "one-hot rows.*with 'categorical_crossentropy' instead.*shape .40, 3",
        ),
        (
            {
                "build_fn": lambda: compile_(
                    plain_model(), loss="categorical_crossentropy"
                )
            },
            "class indices.*with 'sparse_categorical_crossentropy' instead",
        ),
        (
            {"data": (X, np.array(["a", "b", "c", None] * 10))},
            "10 of 40 labels that are no strings, the first in row 3: None",
        ),
    ],
)
def test_refuses(change, message, rng):
    arguments = {"build_fn": build, "data": make_data(rng), "methods": ["none"]}
    with pytest.raises(ValueError, match=message) as error:
        keras_modals.compare(**{**arguments, "seeds": 1, **FAST, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("n_seeds", "'seeds'"), ("epoch", "'epochs'"), ("calbacks", "'callbacks'")],
)
def test_suggests_the_right_name_of_an_argument(name, hint, rng):
    with pytest.raises(TypeError, match=f"{name}'. Did you mean {hint}"):
        keras_modals.compare(build, make_data(rng), ["none"], **FAST, **{name: 3})


def test_refuses_a_model_in_place_of_a_function(rng):
    with pytest.raises(ValueError, match=r"Use `compare\(build, .*build_fn=<Func"):
        keras_modals.compare(build(), make_data(rng), ["none"], 1, **FAST)


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return own_loss(y_true, y_pred)


@pytest.mark.parametrize("loss", [own_loss, OwnLoss])
def test_a_loss_of_ones_own_trains_in_every_method(loss, rng):
    methods = {
        name: Method(METHODS[name].train, METHODS[name].grid[-1:])
        for name in (
            "input noise",
            "latent mixing",
            "latent mixing tuned",
            "one-run search",
        )
    }
    search = METHODS["population search"].train
    methods["population search"] = Method(search, ({"population_size": 2},))
    made = loss() if isinstance(loss, type) else loss
    result = keras_modals.compare(
        lambda: compile_(plain_model(), loss=made), make_data(rng), methods, 1, **FAST
    )
    assert result.skipped == {}
    assert result.summary()["runs"].tolist() == [1] * 6


def test_says_that_a_model_is_not_compiled(rng):
    def train(trial, model):
        return trial.fit(keras.Model(model.inputs, model.outputs))

    with pytest.warns(UserWarning, match="'m' failed"):
        result = keras_modals.compare(build, make_data(rng), {"m": train}, 1, **FAST)
    assert "model is not compiled" in result.skipped["m"]
    assert "Register custom losses and metrics" in result.skipped["m"]


@pytest.mark.filterwarnings("ignore:The new model")
def test_says_which_settings_cannot_be_copied(rng):
    def right(scale):
        def right(y_true, y_pred):
            return keras.metrics.sparse_categorical_accuracy(y_true, scale * y_pred)

        return right

    def build_():
        model = build()
        metrics = ["accuracy", right(1.0), right(2.0)]
        model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
        return model

    names = ["input noise", "triplet", "population search"]
    with pytest.warns(UserWarning, match="Register custom losses and metrics"):
        result = keras_modals.compare(build_, make_data(rng), names, 1, **FAST)
    for name in set(names) & set(result.skipped):
        assert "Register custom losses and metrics" in result.skipped[name]


def logits():
    def loss(y_true, y_pred):
        labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        return keras.ops.sparse_categorical_crossentropy(labels, y_pred, True)

    model = plain_model()
    head = keras.layers.Dense(NUM_CLASSES)(model.get_layer("latents").output)
    return compile_(keras.Model(model.input, head), loss=loss)


def test_refuses_a_monitor_that_is_not_in_the_logs(rng):
    def build_():
        model = plain_model()
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    with (
        pytest.raises(ValueError, match=r"no 'val_accuracy'.*logs=\['loss'"),
        pytest.warns(UserWarning, match="not available"),
    ):
        keras_modals.compare(
            build_, make_data(rng), ["none"], 1, monitor="val_accuracy", **FAST
        )


def test_says_which_extra_it_needs():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "import keras_modals\n"
        "try:\n    keras_modals.compare\n"
        "except ImportError as error:\n    print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    message = "requires 'pandas'. Install it with: pip install"
    assert f'{message} "keras-modals[compare]"' in run.stdout


def test_verdicts_know_of_splits_that_overlap():
    result = comparison([0.1, 0.3, 0.0, 0.2])
    assert "seeds" in result.summary().loc[("d", "m"), "verdict"]
    ratio = result.runs.query("metric == 'accuracy' and split == 'test'")
    ratio = ratio.assign(metric="test_to_train", value=1 / 3)
    corrected = Comparison(pd.concat([result.runs, ratio])).summary().loc[("d", "m")]
    plain = result.summary().loc[("d", "m")]
    assert corrected["standard_error"] == pytest.approx(
        plain["standard_error"] * (7 / 3) ** 0.5
    )
    assert "more samples" in corrected["verdict"]
    for own in (False, True):
        tests = ratio.assign(metric="test_samples", value=ratio["seed"] * own)
        known = Comparison(pd.concat([result.runs, ratio, tests]))
        error = known.summary().loc[("d", "m"), "standard_error"]
        assert error == (corrected if own else plain)["standard_error"]


def test_mean_over_data_sets_by_hand():
    changes = {"a": [0.1, 0.2, 0.3], "b": [0.0, 0.1, 0.4]}
    rows = [
        (dataset, method, seed, split, "accuracy", 0.5 + change * (method == "m"))
        for dataset, values in changes.items()
        for method in ("none", "m")
        for seed, change in enumerate(values)
        for split in ("validation", "test")
    ]
    row = Comparison(pd.DataFrame(rows, columns=COLUMNS)).mean_changes().loc["m"]
    errors = [100 * np.std(v, ddof=1) / 3**0.5 for v in changes.values()]
    assert row["change"] == pytest.approx(100 * (0.2 + 0.5 / 3) / 2)
    assert row["standard_error"] == pytest.approx(np.hypot(*errors) / 2)
    assert row["worst"] == pytest.approx(50 / 3)
    # Welch's, which SciPy computes for a difference. The sum has the same variance.
    test = stats.ttest_ind(*changes.values(), equal_var=False)
    assert row["degrees_of_freedom"] == pytest.approx(test.df)


def test_correction_is_within_a_data_set_in_whatever_order_runs_came():
    first, second = (
        comparison([0.1, 0.11, 0.1, 0.12]),
        comparison([0.1, -0.1, 0.1, 0.0]),
    )
    second.runs["dataset"] = "other"
    late = first.runs.query("method == 'm'").assign(method="late")
    late["value"] = [0.5, 0.5, 0.9, 0.9, 0.1, 0.1, 0.6, 0.6]
    table = Comparison(pd.concat([first.runs, second.runs, late])).summary()
    for dataset, group in table.groupby("dataset"):
        expected = holm(group["p_value"])
        np.testing.assert_allclose(group["corrected_p"], expected, err_msg=dataset)
    assert table.loc[("d", "m"), "verdict"] == "better"
    assert "noise" in table.loc[("d", "late"), "verdict"]


def test_inputs_that_the_model_cannot_handle_are_refused(rng):
    x, y = rng.normal(size=(60, 8)).astype("float32"), np.arange(60) % 3
    x[:7, 2], x[20, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="such inputs in 8 of 60 samples"):
        keras_modals.compare(build, (x, y), ["none"], 1, **FAST)

    def build_for_nan():
        inputs = keras.Input((8,))
        hidden = keras.layers.Lambda(
            lambda x: keras.ops.where(keras.ops.isfinite(x), x, 0.0)
        )(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(hidden))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    result = keras_modals.compare(build_for_nan, (x, y), ["none"], 1, **FAST)
    assert result.summary()["runs"].tolist() == [1]


def test_predictions_of_nan_are_named(rng):
    def diverge(trial, model):
        model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
        return model

    data = rng.normal(size=(60, 8)).astype("float32"), np.arange(60) % 3
    with pytest.warns(UserWarning, match="diverging, seed 0.*predicts NaN"):
        result = keras_modals.compare(build, data, {"diverging": diverge}, 1, **FAST)
    runs = result.runs[result.runs["method"] == "diverging"]
    losses = runs[runs["metric"] == "log_loss"]["value"]
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-6)


@pytest.mark.parametrize("kind", ["U", "column", "object"])
def test_class_names_in_any_array(kind, rng):
    x, numbers = rng.normal(size=(60, 8)).astype("float32"), np.arange(60) % 3
    names = np.array(["a", "b", "c"])[numbers]
    labels = {"U": names, "column": names[:, None], "object": names.astype(object)}
    by_name, by_number = (
        keras_modals.compare(build, (x, y), ["none"], 1, **FAST)
        for y in (labels[kind], numbers)
    )
    assert by_name.class_names == ["a", "b", "c"]
    pd.testing.assert_frame_equal(
        by_name.summary()[["mean"]], by_number.summary()[["mean"]]
    )


@tensorflow_only
@pytest.mark.parametrize("form", ["list", "array", "tensor"])
def test_texts_in_any_array(form):
    texts = ["good day", "bad night", "good night", "bad day"] * 15
    convert = {"list": list, "array": np.array, "tensor": keras.ops.convert_to_tensor}

    def build_for_texts():
        vectorize = keras.layers.TextVectorization(
            output_sequence_length=2, vocabulary=["good", "bad", "day", "night"]
        )
        inputs = keras.Input((), dtype="string")
        hidden = keras.layers.Embedding(6, 4)(vectorize(inputs))
        hidden = keras.layers.GlobalAveragePooling1D()(hidden)
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(hidden))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    data = convert[form](texts), np.arange(60) % 2
    result = keras_modals.compare(
        build_for_texts, data, ["none"], 1, **{**FAST, "epochs": 60}
    )
    # The label follows from the first word.
    assert result.summary()["mean"].tolist() == [100.0]
