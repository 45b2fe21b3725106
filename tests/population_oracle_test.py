import io
import json
import threading

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals import PolicySchedule
from keras_modals._src.policies import files
from keras_modals._src.tuners.checkpoints import CheckpointFolder
from keras_modals._src.tuners.entry import GENERATION, MEMBER, PARENT, Entry
from keras_modals._src.tuners.policy_space import policy_from_values
from keras_modals._src.tuners.population_oracle import MAX_LOSSES
from keras_modals._src.tuners.progress import Progress
from keras_modals._src.tuners.space import levels_of
from keras_modals.population import pba_explore
from keras_modals.tuners import PopulationBasedOracle, policy_space


def make_space():
    hp = keras_tuner.HyperParameters()
    policy_space(hp)
    hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    hp.Float("triplet_weight", 0.0, 0.5, step=0.05)
    hp.Choice("units", [16, 32, 64])
    return hp


def make_oracle(folder, size=8, generations=5, **arguments):
    oracle = PopulationBasedOracle(
        population_size=size,
        generations=generations,
        hyperparameters=make_space(),
        **{"objective": "val_accuracy", "seed": 1, **arguments},
    )
    oracle._set_project_dir(str(folder), "search")
    return oracle


def score_of(entry):
    """Returns a score that depends on who trained, not on when."""
    return np.random.default_rng((entry.member, entry.generation)).random()


def finish(oracle, trial, score):
    oracle.update_trial(trial.trial_id, {"val_accuracy": score})
    trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)


def fail(oracle, trial):
    trial.status, trial.message = TrialStatus.INVALID, "out of memory"
    oracle.end_trial(trial)


def simulate(oracle, rng, workers=4, failures=0.0, losses=0.0, score=score_of):
    """Runs a search with workers that take turns at random."""
    running, stopped, events = {}, set(), 0
    while len(stopped) < workers:
        events += 1
        assert events < 100_000, "the search does not end"
        worker = f"worker{rng.integers(workers)}"
        if worker in running:
            trial = running.pop(worker)
            chance = rng.random()
            if chance < losses:
                # The worker is restarted, and asks again.
                pass
            elif chance < losses + failures:
                fail(oracle, trial)
            else:
                finish(oracle, trial, score(Entry(trial)))
            continue
        trial = oracle.create_trial(worker)
        if trial.status == TrialStatus.STOPPED:
            stopped.add(worker)
        elif trial.status == TrialStatus.RUNNING:
            running[worker] = trial
            # Each member has at most one running trial.
            members = [t.hyperparameters.values[MEMBER] for t in running.values()]
            assert len(set(members)) == len(members)
    return oracle


def check_invariants(oracle):
    size, generations = oracle.population_size, oracle.generations
    trials = oracle.trials
    assert oracle.is_finished
    assert len(trials) == size * generations
    assert not oracle.ongoing_trials
    bounds = {hp.name: hp for hp in make_space().space}
    for generation in range(generations):
        entries = oracle.entries(generation)
        assert sorted(entry.member for entry in entries) == list(range(size))
        assert all(entry.ended for entry in entries)
        for entry in entries:
            for name, value in entry.values.items():
                if name in bounds and hasattr(bounds[name], "min_value"):
                    assert bounds[name].min_value <= value <= bounds[name].max_value
            assert policy_from_values(entry.values) is not None
            if generation == 0:
                assert entry.values[PARENT] == ""
                continue
            parent = Entry(trials[entry.values[PARENT]])
            assert parent.completed
            assert parent.generation == generation - 1
            assert entry.values["units"] == parent.values["units"]
            if parent.member == entry.member:
                unchanged = {**parent.values, **_bookkeeping(entry)}
                assert entry.values == unchanged


def _bookkeeping(entry):
    return {name: entry.values[name] for name in (MEMBER, GENERATION, PARENT)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_every_search_ends_and_keeps_its_invariants(seed, size, tmp_path):
    initial = ("zero", "random", "policy")[seed % 3]
    oracle = make_oracle(tmp_path, size, 8, initial=initial)
    rng = np.random.default_rng(seed)
    # If half of a population of two failed, the search would stop.
    failures = 0.0 if size <= 2 else 0.15
    simulate(oracle, rng, workers=1 + seed, failures=failures, losses=0.1)
    check_invariants(oracle)


def values_of(oracle):
    return {
        (entry.generation, entry.member): {
            name: value for name, value in entry.values.items() if name != PARENT
        }
        for entry in oracle.entries()
    }


def test_what_is_searched_does_not_depend_on_the_order(tmp_path):
    results = []
    for index, workers in enumerate((1, 3, 8)):
        oracle = make_oracle(tmp_path / str(index))
        simulate(oracle, np.random.default_rng(index), workers, losses=0.2 * index / 2)
        results.append(values_of(oracle))
    assert results[0] == results[1] == results[2]
    other = make_oracle(tmp_path / "other", seed=2)
    simulate(other, np.random.default_rng(0), 1)
    assert values_of(other) != results[0]


def test_the_worst_copy_the_best(tmp_path):
    oracle = make_oracle(tmp_path, size=8, generations=2)
    simulate(oracle, np.random.default_rng(0))
    first = sorted(oracle.entries(0), key=lambda entry: entry.trial.score)
    worst = {entry.member for entry in first[:2]}
    best = {entry.trial_id for entry in first[-2:]}
    for entry in oracle.entries(1):
        parent = Entry(oracle.trials[entry.values[PARENT]])
        if entry.member in worst:
            assert parent.trial_id in best
            assert entry.values != {**parent.values, **_bookkeeping(entry)}
        else:
            assert parent.member == entry.member


@pytest.mark.parametrize("direction", ["max", "min"])
def test_direction(direction, tmp_path):
    objective = keras_tuner.Objective("val_accuracy", direction)
    oracle = make_oracle(tmp_path, objective=objective)
    simulate(oracle, np.random.default_rng(0))
    scores = [t.score for t in oracle.get_best_trials(3)]
    assert scores == sorted(scores, reverse=direction == "max")
    # The best trial is among those whose checkpoints are kept.
    best = {"max": max, "min": min}[direction]
    assert scores[0] == best(trial.score for trial in oracle.trials.values())


def test_failed_members_are_replaced(tmp_path):
    oracle = make_oracle(tmp_path, size=4, generations=2)
    for member in range(4):
        trial = oracle.create_trial("a")
        if member < 3:
            fail(oracle, trial)
        else:
            finish(oracle, trial, 0.1)
    simulate(oracle, np.random.default_rng(0), 1)
    parents = {entry.values[PARENT] for entry in oracle.entries(1)}
    assert parents == {"0003"}


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_not_a_number_is_a_failure(tmp_path):
    oracle = make_oracle(tmp_path, size=4, generations=2)
    simulate(
        oracle,
        np.random.default_rng(0),
        score=lambda entry: np.nan if entry.member == 1 else 0.5,
    )
    check_invariants(oracle)
    assert not any(e.completed for e in oracle.entries() if e.member == 1)


def test_a_generation_that_fails_ends_the_search(tmp_path):
    oracle = make_oracle(tmp_path, size=4)
    simulate(oracle, np.random.default_rng(0), failures=1.0)
    assert len(oracle.trials) == 4
    assert oracle.is_finished
    assert "out of memory" in oracle.failure


def test_a_member_that_kills_its_workers_fails(tmp_path):
    oracle = make_oracle(tmp_path, size=2, generations=2)
    for _ in range(MAX_LOSSES):
        assert oracle.create_trial("a").trial_id == "0000"
    assert oracle.create_trial("a").trial_id == "0001"
    assert oracle.trials["0000"].status == TrialStatus.FAILED
    assert "3 workers were lost" in oracle.trials["0000"].message


def test_what_has_ended_stays(tmp_path):
    oracle = make_oracle(tmp_path, size=2)
    trial = oracle.create_trial("a")
    late = Trial.from_state(trial.get_state())
    finish(oracle, trial, 0.5)
    fail(oracle, late)
    assert oracle.trials["0000"].status == TrialStatus.COMPLETED
    assert oracle.end_order == ["0000"]


@pytest.mark.parametrize("trial_id", ["x/../../victim/made", "0001", "../0000"])
def test_other_trials_than_its_own_are_refused(trial_id, tmp_path):
    oracle = make_oracle(tmp_path / "searches", size=2, generations=2)
    trial = oracle.create_trial("a")
    stranger = Trial.from_state({**trial.get_state(), "trial_id": trial_id})
    message = f"no such trial. .* Received: trial_id='{trial_id}'"
    with pytest.raises(ValueError, match=message):
        oracle.get_trial(trial_id)
    with pytest.raises(ValueError, match=message):
        finish(oracle, stranger, 99.0)
    with pytest.raises(ValueError, match=message):
        fail(oracle, stranger)
    assert [path.name for path in tmp_path.iterdir()] == ["searches"]
    made = tmp_path / "searches" / "search"
    assert {path.name for path in made.iterdir()} == {"oracle.json", "trial_0000"}
    # Search from another thread, since the lock must be open.
    searching = threading.Thread(
        target=simulate, args=(oracle, np.random.default_rng(0)), daemon=True
    )
    finish(oracle, trial, 0.5)
    searching.start()
    searching.join(60)
    check_invariants(oracle)


def test_a_worker_does_not_say_whose_child_a_member_is(tmp_path):
    oracle = make_oracle(tmp_path, size=2)
    trial = Trial.from_state(oracle.create_trial("a").get_state())
    trial.hyperparameters.values.update({PARENT: "x/../../victim", MEMBER: 7})
    finish(oracle, trial, 0.5)
    (entry,) = oracle.entries()
    assert (entry.parent, entry.member) == ("", 0)


@pytest.mark.parametrize("stop_after", [0, 1, 7, 8, 9, 20, 39])
def test_goes_on_in_the_middle_of_a_generation(stop_after, tmp_path):
    whole = make_oracle(tmp_path / "whole")
    simulate(whole, np.random.default_rng(0), 1)
    first = make_oracle(tmp_path / "parts")
    for _ in range(stop_after):
        trial = first.create_trial("a")
        finish(first, trial, score_of(Entry(trial)))
    if stop_after < 39:
        # Killed with two members running.
        first.create_trial("a")
        first.create_trial("b")
    first.save()
    second = make_oracle(tmp_path / "parts", seed=None)
    second.reload()
    simulate(second, np.random.default_rng(1), 3)
    check_invariants(second)
    assert values_of(second) == values_of(whole)


def test_state_files_are_whole_and_versioned(tmp_path, monkeypatch):
    oracle = make_oracle(tmp_path)
    trial = oracle.create_trial("a")
    path = tmp_path / "search" / "oracle.json"
    before = path.read_text()
    # Killed while writing.
    monkeypatch.setattr(files.os, "replace", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        oracle.save()
    monkeypatch.undo()
    assert path.read_text() == before
    state = json.loads(before)
    assert state["version"] == 1
    path.write_text(json.dumps({**state, "version": 99}))
    with pytest.raises(ValueError, match="version=99"):
        make_oracle(tmp_path).reload()
    assert trial.trial_id == "0000"


class FakeModel:
    def save_weights(self, path, overwrite):
        path.write_text("weights")


def test_a_failure_deletes_nothing_that_another_worker_saves(tmp_path):
    oracle = make_oracle(tmp_path, size=3)
    saving, failing = oracle.create_trial("a"), oracle.create_trial("b")
    folder = CheckpointFolder(tmp_path / "search")
    folder.of(saving.trial_id).save(FakeModel())
    fail(oracle, failing)
    assert folder._path(saving.trial_id).exists()


def test_a_seed_of_zero_is_one(tmp_path):
    assert make_oracle(tmp_path, seed=0).seed == 0


def test_a_failure_of_the_last_generation_is_one(tmp_path):
    oracle = make_oracle(tmp_path, size=2, generations=1)
    for _ in range(2):
        fail(oracle, oracle.create_trial("a"))
    assert oracle.is_finished
    assert "out of memory" in oracle.failure


def test_what_a_lost_worker_reported_does_not_count(tmp_path):
    oracle = make_oracle(tmp_path, size=2)
    lost = oracle.create_trial("a")
    oracle.update_trial(lost.trial_id, {"val_accuracy": 0.1})
    again = oracle.create_trial("a")
    assert again.trial_id == lost.trial_id
    assert not again.metrics.exists("val_accuracy")
    finish(oracle, again, 0.7)
    assert oracle.trials[lost.trial_id].score == 0.7


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 4])
def test_disk_is_bounded_by_the_population(seed, workers, tmp_path):
    oracle = make_oracle(tmp_path, size=6, generations=6)
    folder = CheckpointFolder(tmp_path / "search")
    counts = []

    def score(entry):
        parent = entry.values[PARENT]
        assert not parent or folder._path(parent).exists()
        folder.of(entry.trial_id).save(FakeModel())
        counts.append(len(list((tmp_path / "search").glob("trial_*/*.h5"))))
        return score_of(entry)

    simulate(oracle, np.random.default_rng(seed), workers, losses=0.1, score=score)
    assert max(counts) <= oracle.population_size + 2
    for trial in oracle.get_best_trials(oracle.population_size):
        assert folder._path(trial.trial_id).exists()


def test_explore_of_hyperparameters():
    rng = np.random.default_rng(0)
    hps = keras_tuner.engine.hyperparameters
    steps = levels_of(hps.Float("steps", 0.0, 0.55, step=0.1))
    assert steps.values == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    rate = levels_of(hps.Float("rate", 1e-4, 1e-2, sampling="log"))
    values = np.array([pba_explore(rate, 1e-3, rng) for _ in range(4000)])
    assert 1e-4 <= values.min() < 2e-4
    assert 5e-3 < values.max() <= 1e-2
    # A move by one step is a tenth of two decades, up or down.
    for factor in (10**0.2, 10**-0.2):
        assert np.mean(np.isclose(values, 1e-3 * factor)) > 0.05
    choice = levels_of(hps.Choice("kind", ["a", "b", "c"]))
    kinds = [pba_explore(choice, "b", rng) for _ in range(2000)]
    assert set(kinds) == {"a", "b", "c"}
    assert abs(np.mean([kind == "b" for kind in kinds]) - (0.8 + 0.2 / 3)) < 0.04
    flag = levels_of(hps.Boolean("flag"))
    assert {pba_explore(flag, True, rng) for _ in range(200)} == {True, False}


def test_what_members_begin_with(tmp_path):
    hp = keras_tuner.HyperParameters()
    name = "policy/gaussian_noise/0/probability"
    hp.Int(name, 0, 10, default=4)
    policy_space(hp, ("gaussian_noise",), 1)
    hp.Float("dropout", 0.0, 0.5, default=0.25)

    def begins(initial):
        oracle = PopulationBasedOracle(
            population_size=9, initial=initial, hyperparameters=hp, seed=0
        )
        oracle._set_project_dir(str(tmp_path), initial)
        values = oracle._plan(0)
        return [v[name] for v in values], [v["dropout"] for v in values]

    assert begins("zero") == ([0] * 9, [0.25] * 9)
    assert begins("policy") == ([4] * 9, [0.25] * 9)
    levels, rates = begins("random")
    assert (levels[0], rates[0]) == (0, 0.25)
    assert len(set(levels)) > 3
    assert len(set(rates)) == 9


@pytest.mark.parametrize(("smoothing", "copied"), [(0.0, 1), (0.75, 0)])
def test_scores_are_smoothed_along_a_lineage(smoothing, copied, tmp_path):
    oracle = make_oracle(tmp_path, 4, 3, smoothing=smoothing)
    # The second member was worse, and is now slightly better.
    for score in (0.9, 0.5, 0.6, 0.1, 0.7, 0.8, 0.2, 0.1):
        finish(oracle, oracle.create_trial("a"), score)
    entries = oracle.entries(1)
    expected = smoothing * 0.9 + (1 - smoothing) * 0.7
    assert oracle.smoothed(entries[0]) == pytest.approx(expected)
    assert oracle.best_at_the_end() == entries[copied]
    parents = [values[PARENT] for values in oracle._plan(2)]
    assert parents.count(entries[copied].trial_id) == 2


def test_explore_can_be_replaced(tmp_path):
    oracle = make_oracle(tmp_path, explore=lambda levels, value, rng: levels.at(1.0))
    simulate(oracle, np.random.default_rng(0))
    explored = [e for e in oracle.entries() if e.values["learning_rate"] == 1e-2]
    assert explored
    # Keras Tuner's floats with a step exclude the last value.
    assert all(e.values["triplet_weight"] == 0.45 for e in explored)


def test_an_explore_that_raises_ends_the_search(tmp_path):
    def explore(levels, value, rng):
        raise ZeroDivisionError(levels.name)

    oracle = make_oracle(tmp_path, explore=explore)
    simulate(oracle, np.random.default_rng(0))
    assert oracle.is_finished
    assert "ZeroDivisionError" in oracle.failure


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_progress_of_terminals_and_files(stream):
    progress = Progress(total=4, stream=stream)
    for done in range(1, 5):
        progress.show(
            done, 1 + (done - 1) // 2, 2, 1 + (done - 1) % 2, 2, f"best {done}"
        )
    text = stream.getvalue()
    assert text.count("\n") == 2
    # A terminal shows every member over the previous one. A file shows each generation.
    assert text.count("generation") == (4 if stream.isatty() else 2)
    assert text.count("\r") == (4 if stream.isatty() else 0)
    assert "generation 2/2, member 2/2, best 4, 0 s left" in text


def test_policy_space_declares_what_it_returns():
    hp = keras_tuner.HyperParameters()
    policy = policy_space(hp, ("gaussian_noise",), 1, (0.5, 0.5))
    assert policy.sub_policies == (("gaussian_noise", 0.0, 0.0),)
    hp.values["policy/gaussian_noise/0/probability"] = 10
    hp.values["policy/gaussian_noise/0/magnitude"] = 3
    policy = policy_space(hp, ("gaussian_noise",), 1, (0.5, 0.5))
    assert policy.sub_policies == (("gaussian_noise", 1.0, 0.3),)
    assert policy_from_values(hp.values) == policy
    assert policy_from_values({"units": 3}) is None
    assert PolicySchedule([(1, policy)]).epochs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 0}, "population_size=0"),
        ({"generations": 0}, "generations=0"),
        ({"smoothing": 1}, "smoothing=1"),
        ({"quantile": 0.6}, "quantile=0.6"),
        ({"initial": "default"}, "initial='default'"),
        ({"seed": -1}, "seed=-1"),
        ({"objective": "accuracy"}, "objective='accuracy'"),
        ({"max_trials": 3}, "max_trials=3"),
        ({"max_retries_per_trial": 3}, "max_retries_per_trial=3"),
        ({"max_consecutive_failed_trials": 3}, "max_consecutive_failed_trials=3"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        PopulationBasedOracle(**arguments)
