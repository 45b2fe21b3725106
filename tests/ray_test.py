"""The population search on Ray Tune."""

import copy
import functools
import json
import math
import os
import pathlib
import signal
import types

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import keras
import numpy as np
import pytest
import ray
from portable import BACKEND
from problems import compile_, make_data, plain_model
from ray import tune

import keras_modals
from keras_modals import Policy, PolicySchedule, PolicyScheduler
from keras_modals._src.members.callback_states import CallbackStates
from keras_modals._src.members.checkpoint import Checkpoint
from keras_modals._src.population.explore import children, pba_explore
from keras_modals._src.ray_tune.scheduler import Explore
from keras_modals._src.ray_tune.space import domains, levels_of, replaced
from keras_modals.ray import (
    PopulationBasedTraining,
    load_model,
    policy_space,
    trainable,
)

EPOCHS = 2
OPERATIONS = ("gaussian_noise", "difference_transform")
TENTHS = [level / 10 for level in range(11)]
SPACE = {
    "policy": policy_space(OPERATIONS, repeats=1),
    "dropout": tune.uniform(0.0, 0.5),
    "learning_rate": tune.loguniform(1e-3, 1e-1),
    "triplet_weight": tune.uniform(0.0, 0.5),
}
POLICY = Policy(dict.fromkeys(OPERATIONS, (0.5, 0.3))).get_config()
CONFIG = {
    "policy": POLICY,
    "dropout": 0.1,
    "learning_rate": 0.01,
    "triplet_weight": 0.0,
    "seed": 3,
}


def build(config, **arguments):
    model = keras_modals.augment(
        plain_model(),
        policy=config["policy"],
        dropout=0.0,
        layer="head",
        warmup_steps=0,
    )
    return compile_(
        model,
        keras.optimizers.Adam(config["learning_rate"]),
        triplet_weight=config["triplet_weight"],
        **arguments,
    )


def make_trainable(build=build, **arguments):
    rng = np.random.default_rng(0)
    x, y = make_data(rng)
    x_val, y_val = make_data(rng)
    # The task is hard enough for scores to differ.
    arguments = {
        "epochs_per_generation": EPOCHS,
        "validation_data": (x_val / 3, y_val),
        "batch_size": 32,
        "shuffle": False,
        **arguments,
    }
    return trainable(build, x / 3, y, **arguments)


# Search space -----------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "places"),
    [
        (tune.choice([1, 2, 4]), {0.0: 1, 0.5: 2, 1.0: 4}),
        (tune.randint(2, 5), {0.0: 2, 0.5: 3, 1.0: 4}),
        (tune.quniform(0.2, 0.6, 0.2), {0.0: 0.2, 0.5: 0.4, 1.0: 0.6}),
        (tune.uniform(1.0, 3.0), {0.0: 1.0, 0.25: 1.5, 1.0: 3.0}),
        (tune.loguniform(1e-4, 1e-2), {0.0: 1e-4, 0.5: 1e-3, 1.0: 1e-2}),
    ],
)
def test_domains_are_levels(domain, places):
    levels = levels_of(("number",), domain)
    for place, value in places.items():
        assert levels.at(place) == pytest.approx(value, rel=1e-12)
        assert levels.moved(levels.at(place), 0.0) == pytest.approx(value, rel=1e-12)
        assert levels.moved(value, -1.0) == levels.at(0.0)
        assert levels.moved(value, 1.0) == levels.at(1.0)


def test_a_choice_of_names_has_no_order():
    levels = levels_of(("units",), tune.choice(["a", "b"]))
    assert levels.moved("a", 1.0) == "a"


@pytest.mark.parametrize(
    "domain", [tune.randn(0.0, 1.0), tune.sample_from(lambda spec: 1)]
)
def test_refuses_domains_without_bounds(domain):
    with pytest.raises(ValueError, match=r"need bounds: .* Received: rate="):
        PopulationBasedTraining({"rate": domain})


@pytest.mark.parametrize("space", [{}, {"dropout": 0.1}, None])
def test_refuses_a_space_of_nothing(space):
    with pytest.raises(ValueError, match=r"domains to explore.* Received: space"):
        PopulationBasedTraining(space)


@pytest.mark.parametrize("quantile", [0.0, 0.6])
def test_refuses_quantiles(quantile):
    with pytest.raises(ValueError, match=f"Received: quantile={quantile}"):
        PopulationBasedTraining(SPACE, quantile=quantile)


def test_policy_space():
    space = policy_space(OPERATIONS, repeats=3, operation_counts=(0.5, 0.5))
    found = dict(domains(space))
    assert len(found) == 2 * 3 * 2
    assert {tuple(domain.categories) for domain in found.values()} == {tuple(TENTHS)}
    lowest = replaced(space, lambda path, domain: domain.categories[0])
    assert Policy.from_config(lowest) == Policy(
        dict.fromkeys(OPERATIONS, [(0.0, 0.0)] * 3), (0.5, 0.5)
    )
    layers = policy_space(layers=2)
    assert len(layers) == 2
    assert len(dict(domains(layers))) == 2 * 4 * 2 * 2


def test_policy_space_keeps_options():
    operation = keras_modals.operations.ClassMixing(partners="balanced")
    space = policy_space([operation], repeats=1)
    lowest = replaced(space, lambda path, domain: 0.0)
    assert Policy.from_config(lowest) == Policy({operation: (0.0, 0.0)})


# Explore ----------------------------------------------------------------


def test_explore_is_that_of_the_other_engines():
    """The same generator gives the same values."""
    explore = Explore(SPACE, pba_explore, np.random.default_rng(7))
    levels = [levels_of(path, domain) for path, domain in domains(SPACE)]
    rng = np.random.default_rng(7)
    config = json.loads(json.dumps(CONFIG))
    for _ in range(20):
        before = {each.name: value for each, value in zip(levels, values(config))}
        _, expected = children([before, before], [0, 0], levels, pba_explore, rng)
        seed = int(rng.integers(2**31))
        config = explore(config)
        assert values(config) == list(expected.values())
        assert config["seed"] == seed
        assert json.loads(json.dumps(config)) == config
        Policy.from_config(config["policy"])


def values(config):
    def value(path):
        return functools.reduce(lambda part, key: part[key], path, config)

    return [value(path) for path, _ in domains(SPACE)]


def test_explore_has_the_distribution_of_the_rule():
    count = 20_000
    levels = {"number": tune.choice(TENTHS)}
    explore = Explore(levels, pba_explore, np.random.default_rng(0))
    found = [explore({"number": 0.2})["number"] for _ in range(count)]
    expected = np.full(11, 0.2 / 11)
    for tenths in range(4):
        for sign in (-1, 1):
            expected[max(2 + sign * tenths, 0)] += 0.8 / 8
    for level, probability in zip(TENTHS, expected):
        # Five standard deviations of a binomial share, which one in 10^6 exceeds.
        bound = 5 * math.sqrt(probability * (1 - probability) / count)
        assert abs(found.count(level) / count - probability) < bound


def test_numbers_without_steps_have_the_distribution_of_the_rule():
    count = 20_000
    levels = {"rate": tune.loguniform(1e-4, 1e-2)}
    explore = Explore(levels, pba_explore, np.random.default_rng(0))
    found = np.array([explore({"rate": 1e-3})["rate"] for _ in range(count)])
    places = (np.log10(found) + 4) / 2
    # A share of 0.8 * 2 / 8 stays. A fifth is drawn again, uniformly on its scale.
    stays = np.isclose(places, 0.5, atol=1e-9)
    assert abs(stays.mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / count)
    moved = sum(np.isclose(places, 0.5 + k / 10, atol=1e-9) for k in range(-3, 4))
    drawn = places[moved == 0]
    assert abs(len(drawn) / count - 0.2) < 5 * math.sqrt(0.2 * 0.8 / count)
    # The standard deviation of a uniform number is 1 / sqrt(12).
    assert abs(drawn.mean() - 0.5) < 5 / math.sqrt(12 * len(drawn))


# One member -------------------------------------------------------------


@pytest.fixture
def make_member(monkeypatch, tmp_path):
    """Creates a trainable in this process, as Ray does in its own processes."""
    module = "ray.tune.trainable.trainable"
    monkeypatch.setattr(f"{module}.DEFAULT_STORAGE_PATH", str(tmp_path))
    return lambda config=CONFIG, **arguments: make_trainable(**arguments)(dict(config))


def weights(member):
    variables = member._reused.model.variables
    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


def kernel(member):
    return np.array(member._reused.model.get_layer("hidden").get_weights()[0])


def as_result(folder, config=None):
    checkpoint = tune.Checkpoint.from_directory(str(folder))
    return types.SimpleNamespace(checkpoint=checkpoint, config=config)


def logs_of(result):
    return {name: result[name] for name in result if name.endswith(("loss", "acy"))}


@pytest.mark.slow
@pytest.mark.backend
def test_a_step_reports_the_last_epoch(make_member):
    member = make_member(smoothing=0.25)
    first, second = member.train(), member.train()
    assert first["epochs"] == EPOCHS
    assert second["epochs"] == 2 * EPOCHS
    model = member._reused.model
    assert int(model.optimizer.iterations) == 2 * EPOCHS * 3
    assert model.latent_augmentation.policy == Policy.from_config(POLICY)
    x_val, y_val = member._fit_kwargs["validation_data"]
    loss, accuracy = model.evaluate(x_val, y_val, batch_size=32, verbose=0)
    assert second["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert second["val_accuracy"] == pytest.approx(accuracy, rel=1e-5)
    assert {"loss", "accuracy", "triplet_loss"} <= set(second)
    assert first["smoothed_val_loss"] == first["val_loss"]
    expected = 0.25 * first["val_loss"] + 0.75 * second["val_loss"]
    assert second["smoothed_val_loss"] == pytest.approx(expected)


class Seen(keras.callbacks.Callback):
    """Records the policy and other values of each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        model = self.model
        self.epochs.append(
            (
                epoch,
                str(model.latent_augmentation.policy),
                round(float(model.optimizer.learning_rate), 6),
                round(float(model.term_weights["triplet_weight"]), 6),
            )
        )


@pytest.mark.slow
@pytest.mark.backend
def test_a_state_goes_on_exactly(make_member, tmp_path):
    averages = keras.callbacks.SwapEMAWeights()

    def with_averages(config):
        model = build(config)
        model.optimizer.use_ema = True
        return model

    arguments = {"build": with_averages, "callbacks": [Seen(), averages]}
    member = make_member(**arguments)
    member.train()
    # Ray may save a member twice.
    for name in ("one", "two"):
        member.save(str(tmp_path / name))
    whole = logs_of(member.train())
    after = weights(member)
    other = make_member({**CONFIG, "seed": 4}, **arguments)
    other.train()
    assert other.reset({**CONFIG, "seed": 3})
    other.restore(str(tmp_path / "two"))
    # Saving again writes what was loaded.
    other.save(str(tmp_path / "again"))
    for path in (tmp_path / "two").glob("checkpoint.*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert logs_of(other.train()) == whole
    for value, expected in zip(weights(other), after, strict=True):
        np.testing.assert_array_equal(value, expected)
    member.save(str(tmp_path / "end"))
    # The weights in the file are those that were scored.
    result = as_result(tmp_path / "end", CONFIG)
    model = load_model(with_averages, result)
    x_val, y_val = member._fit_kwargs["validation_data"]
    loss, _ = model.evaluate(x_val, y_val, batch_size=32, verbose=0)
    assert loss == pytest.approx(whole["val_loss"], rel=1e-5)


def test_members_begin_by_their_seeds(make_member):
    member = make_member()
    member.train()
    first = kernel(member)
    assert member.reset({**CONFIG, "seed": 4})
    member.train()
    assert not np.array_equal(kernel(member), first)
    assert member.reset(dict(CONFIG))
    member.train()
    np.testing.assert_array_equal(kernel(member), first)


@pytest.mark.slow
@pytest.mark.backend
def test_values_are_assigned_and_nothing_is_traced_again(make_member, tmp_path):
    traces = []

    def counted(config):
        model = build(config, run_eagerly=False)
        step = model.train_step
        model.train_step = lambda *args: traces.append(1) or step(*args)
        return model

    member = make_member(build=counted)
    member.train()
    member.save(str(tmp_path / "one"))
    count = len(traces)
    policy = Policy(dict.fromkeys(OPERATIONS, (0.9, 0.8)))
    for start in (None, str(tmp_path / "one")):
        config = {
            "policy": policy.get_config(),
            "dropout": 0.4,
            "learning_rate": 0.02,
            "triplet_weight": 0.3,
            "seed": 9,
        }
        assert member.reset(config)
        if start:
            member.restore(start)
        member.train()
        model = member._reused.model
        assert model.latent_augmentation.policy == policy
        assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
        assert float(model.term_weights["triplet_weight"]) == pytest.approx(0.3)
        rates = [
            float(layer.rate)
            for layer in model.layers
            if isinstance(layer, keras_modals.LatentDropout)
        ]
        assert rates == [pytest.approx(0.4)]
    # PyTorch does not trace, so every step counts as a trace.
    assert len(traces) == (3 * count if BACKEND == "torch" else count)


def test_what_cannot_be_assigned_needs_another_model(make_member):
    def sized(config):
        inputs = keras.Input((8,))
        hidden = keras.layers.Dense(config["units"], "relu", name="hidden")(inputs)
        outputs = keras.layers.Dense(3, "softmax")(hidden)
        return compile_(keras_modals.augment(keras.Model(inputs, outputs)))

    config = {"units": 4}
    member = make_member(config, build=sized)
    model = member._reused.model
    assert member.reset({"units": 4, "seed": 1})
    assert member._reused.model is model
    assert member.reset({"units": 5})
    member.train()
    assert kernel(member).shape == (8, 5)


def test_what_training_has_lowered_stays(make_member, tmp_path):
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=100.0, factor=0.5)
    member = make_member(callbacks=[plateau])
    member.train()
    member.save(str(tmp_path / "one"))
    assert float(member._reused.model.optimizer.learning_rate) < 0.01
    lowered = float(member._reused.model.optimizer.learning_rate)
    assert member.reset({**CONFIG, "dropout": 0.3})
    member.restore(str(tmp_path / "one"))
    assert float(member._reused.model.optimizer.learning_rate) == lowered
    assert member.reset({**CONFIG, "learning_rate": 0.03})
    member.restore(str(tmp_path / "one"))
    rate = float(member._reused.model.optimizer.learning_rate)
    assert rate == pytest.approx(0.03)


def test_a_member_that_a_callback_stops_stays_as_it_is(make_member, tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_loss", min_delta=100.0, patience=2)
    member = make_member(callbacks=[stopping])
    results = [member.train() for _ in range(4)]
    assert [result["epochs"] for result in results] == [2, 3, 3, 3]
    assert logs_of(results[3]) == logs_of(results[1])
    member.save(str(tmp_path / "one"))
    assert PolicySchedule.from_ray(as_result(tmp_path / "one")).epochs == 3
    assert member.reset({**CONFIG, "dropout": 0.3})
    member.restore(str(tmp_path / "one"))
    assert member.train()["epochs"] == 3
    member.save(str(tmp_path / "two"))
    assert (tmp_path / "two" / "schedule.json").exists()


def test_a_loss_that_is_not_a_number_is_the_worst(make_member):
    member = make_member({**CONFIG, "learning_rate": 1e30})
    result = member.train()
    assert result["val_loss"] == result["smoothed_val_loss"] == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_data": None}, "validation"),
        ({"epochs": 3}, "epochs=3"),
        ({"validation_freq": 3}, "validation_freq=3"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"epochs_per_generation": 0}, "epochs_per_generation=0"),
        ({"callbacks": [1]}, "instances of `keras.callbacks.Callback`"),
    ],
)
def test_refuses_arguments_of_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_trainable(**arguments)


def test_refuses_plain_models(make_member):
    with pytest.raises(TypeError, match="must return a compiled"):
        make_member(build=lambda config: plain_model())


def test_the_code_of_the_page_runs_up_to_the_search(tmp_path, monkeypatch):
    module = "ray.tune.trainable.trainable"
    monkeypatch.setattr(f"{module}.DEFAULT_STORAGE_PATH", str(tmp_path))
    page = pathlib.Path(__file__).parents[1] / "docs" / "ray.md"
    code = page.read_text().split("```python\n")[1].split("```")[0]
    code, search = code.split("best = tuner.fit()")
    assert "PolicySchedule.from_ray(best)" in search
    here = f'name="search", storage_path={str(tmp_path)!r}'
    names: dict = {}
    exec(code.replace('name="search"', here), names)
    config = {"dropout": 0.1, "policy": Policy.zero(repeats=1).get_config()}
    member = names["trainable"](config)
    reported = member.train()
    member.save(str(tmp_path / "best"))
    result = as_result(tmp_path / "best", config)
    model = load_model(names["build"], result)
    x, y = names["x_val"], names["y_val"]
    accuracy = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(reported["val_accuracy"], abs=1e-6)
    assert PolicySchedule.from_ray(result).epochs == 3


# Schedules --------------------------------------------------------------


def test_refuses_results_without_a_schedule(tmp_path):
    for result in (types.SimpleNamespace(checkpoint=None), "pbt_policy_00000.txt"):
        with pytest.raises(ValueError, match=r"`ray.tune.Result` .* Received: result"):
            PolicySchedule.from_ray(result)
    with pytest.raises(ValueError, match="contains no schedule"):
        PolicySchedule.from_ray(as_result(tmp_path))


def test_a_schedule_that_is_broken_is_refused_with_its_line(tmp_path):
    schedule = PolicySchedule([(3, Policy.zero())])
    schedule.save(tmp_path / "schedule.json")
    assert PolicySchedule.from_ray(as_result(tmp_path)) == schedule
    text = (tmp_path / "schedule.json").read_text()
    (tmp_path / "schedule.json").write_text(text.replace("epochs", "epoch", 1))
    with pytest.raises(ValueError, match=r"schedule.json, line \d+: .*'epochs' is mis"):
        PolicySchedule.from_ray(as_result(tmp_path))


# Who waits for whom -----------------------------------------------------


class FakeTrial:
    experiment_tag, trial_id, status = "tag", "id", "PAUSED"
    checkpoint, last_result = None, {}
    temporary_state = types.SimpleNamespace(saving_to=None)
    run_metadata = types.SimpleNamespace(
        checkpoint_manager=types.SimpleNamespace(
            checkpoint_config=tune.CheckpointConfig()
        )
    )

    def __init__(self, generation=0):
        self.config, self.evaluated_params = {}, {}
        metrics = {"training_iteration": generation, "val_loss": 1.0}
        saved = types.SimpleNamespace(metrics=metrics)
        self.latest_checkpoint_result = saved if generation else None

    def is_finished(self):
        return self.status == "ERROR"


def make_population(*generations):
    scheduler = PopulationBasedTraining(SPACE, metric="val_loss", mode="min", seed=0)
    trials = [FakeTrial(generation) for generation in generations]
    controller = types.SimpleNamespace(
        search_alg=None,
        get_trials=lambda: trials,
        # In Ray, this includes failed trials.
        get_live_trials=lambda: trials,
    )
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    return scheduler, trials, controller


def report(scheduler, controller, trial, generation):
    result = {"training_iteration": generation, "val_loss": 0.5}
    scheduler.on_trial_result(controller, trial, result)


def test_trials_begin_alike_but_for_seeds_and_numbers():
    _, trials, _ = make_population(0, 0, 0)
    for trial in trials:
        policy = Policy.from_config(trial.config["policy"])
        assert policy == Policy.zero(OPERATIONS, 1)
        assert 1e-3 <= trial.config["learning_rate"] <= 1e-1
    for name in ("seed", "learning_rate", "dropout"):
        assert len({trial.config[name] for trial in trials}) == 3
    _, again, _ = make_population(0, 0, 0)
    assert [trial.config for trial in again] == [trial.config for trial in trials]


def test_who_is_ahead_after_a_restore_waits():
    scheduler, (ahead, behind), controller = make_population(5, 4)
    assert scheduler.choose_trial_to_run(controller) is behind
    report(scheduler, controller, behind, 5)
    # Both have finished generation 5, and continue training.
    assert scheduler.choose_trial_to_run(controller) is not None
    report(scheduler, controller, behind, 6)
    assert scheduler.choose_trial_to_run(controller) is ahead


def test_who_fails_in_the_first_generation_trains_it_again():
    scheduler, (one, fails), controller = make_population(0, 0)
    report(scheduler, controller, one, 1)
    scheduler.on_trial_error(controller, fails)
    scheduler.on_trial_add(controller, fails)
    assert scheduler.choose_trial_to_run(controller) is fails


def test_who_fails_for_good_is_not_waited_for():
    scheduler, (one, two, fails), controller = make_population(0, 0, 0)
    report(scheduler, controller, one, 1)
    report(scheduler, controller, two, 1)
    assert scheduler.choose_trial_to_run(controller) is fails
    fails.status = "ERROR"
    scheduler.on_trial_error(controller, fails)
    assert scheduler.choose_trial_to_run(controller) in (one, two)
    for generation in (2, 3):
        for trial in (one, two):
            report(scheduler, controller, trial, generation)
        assert scheduler.choose_trial_to_run(controller) in (one, two)


# On Ray -----------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        # Ray's processes import this file.
        path = [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def make_tuner(folder, trained=(), generations=3, **run):
    return tune.Tuner(
        make_trainable(callbacks=[Seen(), *trained]),
        param_space={"triplet_weight": 0.1},
        tune_config=tune.TuneConfig(
            metric="smoothed_val_loss",
            mode="min",
            num_samples=4,
            scheduler=PopulationBasedTraining(SPACE, seed=0),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(folder),
            stop={"training_iteration": generations},
            verbose=0,
            **run,
        ),
    )


class Reports(tune.Callback):
    """Records all reports of trials. Ray's own files lose some when trials pause."""

    rows: list = []

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.rows.append(copy.deepcopy(result))


def has_explored(result):
    return Policy.from_config(result.config["policy"]) != Policy.zero(OPERATIONS, 1)


def test_search_and_what_comes_of_it(cluster, tmp_path):
    Reports.rows.clear()
    results = make_tuner(tmp_path, callbacks=[Reports()]).fit()
    assert not results.errors
    rows = Reports.rows
    epochs = [row["epochs"] for row in rows]
    assert sorted(epochs) == sorted([EPOCHS, 2 * EPOCHS, 3 * EPOCHS] * 4)
    # One process has trained all of them.
    assert len({row["pid"] for row in rows}) == 1
    firsts = [row["config"] for row in rows if row["epochs"] == EPOCHS]
    assert len({config["seed"] for config in firsts}) == 4
    assert len({config["learning_rate"] for config in firsts}) == 4
    for config in firsts:
        assert Policy.from_config(config["policy"]) == Policy.zero(OPERATIONS, 1)
        assert config["triplet_weight"] == 0.1
    assert any(has_explored(result) for result in results)

    best = results.get_best_result()
    schedule = PolicySchedule.from_ray(best)
    assert schedule.epochs == 3 * EPOCHS
    last = schedule.segments[-1]
    assert last.policy == Policy.from_config(best.config["policy"])
    numbers = ("dropout", "learning_rate", "triplet_weight")
    assert last.values == {name: best.config[name] for name in numbers}

    # A replay of the schedule gives what the best trial was trained with.
    seen = Seen()
    model = load_model(build, best)
    states = CallbackStates([seen])
    record = Checkpoint(best.checkpoint.path).load_record()
    seen.set_params({})
    states.read(record["callbacks"], [seen], model)
    replay = Seen()
    x, y = make_data(np.random.default_rng(0))
    config = {**best.config, "policy": last.policy, "triplet_weight": 0.1}
    retrained = build(config)
    scheduler = PolicyScheduler(schedule)
    retrained.fit(x, y, epochs=3 * EPOCHS, verbose=0, callbacks=[scheduler, replay])
    assert replay.epochs == seen.epochs
    # The model is the one that was scored.
    rng = np.random.default_rng(0)
    make_data(rng)
    x_val, y_val = make_data(rng)
    loss, _ = model.evaluate(x_val / 3, y_val, verbose=0)
    assert loss == pytest.approx(best.metrics["val_loss"], rel=1e-5)


class Dies(keras.callbacks.Callback):
    """Ends its process once, in the second generation."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == EPOCHS and not os.path.exists(self.path):
            pathlib.Path(self.path).touch()
            os._exit(1)


class Interrupts(tune.Callback):
    """Presses Ctrl-C once, in the second generation."""

    pressed = False

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["training_iteration"] == 2 and not Interrupts.pressed:
            Interrupts.pressed = True
            os.kill(os.getpid(), signal.SIGINT)


def test_a_search_goes_on_after_failures(cluster, tmp_path):
    dies = Dies(str(tmp_path / "died"))
    Reports.rows.clear()
    make_tuner(
        tmp_path,
        [dies],
        failure_config=tune.FailureConfig(max_failures=1),
        callbacks=[Reports(), Interrupts()],
    ).fit()
    assert (tmp_path / "died").exists()
    assert [row["epochs"] for row in Reports.rows] == [EPOCHS] * 4 + [2 * EPOCHS]
    assert len({row["pid"] for row in Reports.rows}) == 2

    results = tune.Tuner.restore(
        str(tmp_path / "search"), make_trainable(callbacks=[Seen(), dies])
    ).fit()
    assert not results.errors
    epochs = [row["epochs"] for row in Reports.rows]
    assert epochs.count(EPOCHS) == epochs.count(3 * EPOCHS) == 4
    # A trial that was interrupted before it was saved trains again.
    assert epochs.count(2 * EPOCHS) in (4, 5)
    assert any(has_explored(result) for result in results)
    for result in results:
        assert result.metrics["epochs"] == 3 * EPOCHS
        assert PolicySchedule.from_ray(result).epochs == 3 * EPOCHS
