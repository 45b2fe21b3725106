import numpy as np
import pytest

from keras_modals import Policy
from keras_modals._src.population import Levels, Range, pba_explore
from keras_modals._src.population.exploit import exploit
from keras_modals._src.population.explore import children
from keras_modals._src.population.population import Population
from keras_modals._src.population.results import Step, print_results, schedule_of
from keras_modals._src.population.scores import lineage, smooth
from keras_modals._src.population.start import (
    check_arguments,
    check_seed,
    check_validation,
    start_values,
)
from keras_modals._src.population.trials import Trials

LEVELS = [Levels("a", range(11)), Levels("b", range(11))]


def make_population(size=8, shared=(), **arguments):
    settings = {
        "epochs_per_generation": 2,
        "quantile": 0.25,
        "explore": pba_explore,
        "smoothing": 0.5,
        "seed": 0,
        **arguments,
    }
    return Population(LEVELS, [[0, 5]] * size, shared, [5] * len(shared), **settings)


def test_the_worst_go_on_from_the_best():
    scores = [5.0, 1.0, 8.0, 3.0, 2.0, 7.0, 4.0, 6.0]
    for seed in range(20):
        parents = exploit(scores, 0.25, np.random.default_rng(seed))
        for member, parent in enumerate(parents):
            if scores[member] <= 2.0:
                assert scores[parent] >= 7.0
            else:
                assert parent == member


def test_a_failed_member_never_is_a_parent_and_gets_one():
    scores = [-np.inf, 1.0, -np.inf, -np.inf]
    for seed in range(20):
        assert exploit(scores, 0.25, np.random.default_rng(seed)) == [1, 1, 1, 1]


def test_scores_are_smoothed_and_follow_members():
    population = make_population(4, epochs_per_generation=3)
    population.end_epoch([4.0, 3.0, 2.0, 1.0])
    # The best member is now the first.
    assert population.records[0]["parents"] == [3, 1, 2, 0]
    population.end_epoch([1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(population.records[1]["smoothed"], [1.0, 2.0, 1.5, 2.5])


def test_only_children_change_and_only_at_the_end_of_a_generation(rng):
    population = make_population()
    for epoch in range(12):
        before = population.values.copy()
        parents = population.end_epoch(rng.random(8))
        kept = len(set(parents))
        if epoch % 2 == 0:
            assert sorted(parents) == list(range(8))
            np.testing.assert_array_equal(population.values, before[parents])
        else:
            assert kept == 6
            # The first child of a parent is the parent itself.
            changed = (population.values != before[parents]).any(axis=1)
            assert changed.sum() <= 2


def test_replay_gives_the_same_population(rng):
    scores = rng.random((9, 8))
    population = make_population(shared=[Levels("c", range(11))])
    for row in scores:
        population.end_epoch(row)
    other = make_population(shared=[Levels("c", range(11))])
    other.replay(scores)
    np.testing.assert_array_equal(other.values, population.values)
    np.testing.assert_array_equal(other.shared, population.shared)
    other.replay(scores[:4])
    assert len(other.records) == 4


def test_lineage_holds_what_the_first_member_was_trained_with(rng):
    population = make_population()
    # Track what each member has inherited in separate histories.
    histories = [[] for _ in range(8)]
    for _ in range(10):
        for history, values in zip(histories, population.values, strict=True):
            history.append(values.tolist())
        parents = population.end_epoch(rng.random(8))
        histories = [list(histories[parent]) for parent in parents]
    lineage = [r["values"][member].tolist() for member, r in population.lineage()]
    assert lineage == histories[0]


def test_a_member_without_a_score_is_replaced_at_once():
    population = make_population(4)
    parents = population.end_epoch([1.0, 2.0, np.nan, 3.0])
    assert 2 not in parents
    assert {0, 1, 3} <= set(parents)
    assert np.isfinite(population.smoothed).all()


def test_a_child_is_never_the_first(rng):
    population = make_population(epochs_per_generation=1)
    for _ in range(50):
        before = population.values.copy()
        parents = population.end_epoch(rng.random(8))
        np.testing.assert_array_equal(population.values[0], before[parents[0]])


def test_a_random_start_leaves_the_first_member_alone(rng):
    start = start_values(50, "random", 5.0, rng.random)
    assert start[0] == 5.0
    assert len(set(start)) == 50
    for initial in ("zero", "policy"):
        assert start_values(3, initial, 5.0, rng.random) == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(("score_after", "kept"), [(0.2, True), (0.75, False)])
def test_trials_keep_what_helps_and_revert_what_does_not(score_after, kept):
    trials = Trials([Levels("c", range(11))], lambda levels, value, rng: value + 1)
    rng = np.random.default_rng(0)
    values = np.array([5.0])
    assert trials.next(values, 1.0, rng) == 5
    # The score goes from 1 to 0.8, which is what a generation gains.
    tried = trials.next(values, 0.8, rng)
    assert tried == 6
    assert trials.next(tried, score_after, rng) == (6 if kept else 5)


def test_explore_follows_the_rule_of_pba():
    levels = Levels("level", range(11))
    rng, draws = np.random.default_rng(0), 40_000
    for start in (0, 5, 9):
        expected = np.full(11, 0.2 / 11)
        for move in (0, 1, 2, 3):
            for sign in (-1, 1):
                expected[np.clip(start + sign * move, 0, 10)] += 0.8 / 8
        values = [pba_explore(levels, start, rng) for _ in range(draws)]
        counts = np.bincount(values, minlength=11)
        error = 5 * np.sqrt(draws * expected * (1 - expected))
        assert np.all(np.abs(counts - draws * expected) < error)


def test_numbers_move_within_their_bounds():
    levels = Levels("level", [0.0, 0.1, 0.3, 1.0])
    assert [levels.at(place) for place in (0.0, 0.3, 0.99, 1.0)] == [0.0, 0.1, 1.0, 1.0]
    assert [levels.moved(0.12, share) for share in (-1, 0, 0.3, 9)] == [0, 0.1, 0.3, 1]
    squares = Range("square", lambda place: place**2, lambda value: value**0.5)
    assert squares.at(0.5) == 0.25
    np.testing.assert_allclose(
        [squares.moved(0.25, share) for share in (-1, 0.1, 1)], [0.0, 0.36, 1.0]
    )
    kinds = Levels("kind", ["a", "b"], ordered=False)
    assert kinds.moved("a", 1.0) == "a"


def test_children_explore_from_their_parents(rng):
    values = [{"a": 1, "units": 8}, {"a": 2, "b": 5, "units": 16}]
    results = children(values, [1, 1], LEVELS, lambda *_: 7, rng)
    assert results == [{"a": 7, "b": 7, "units": 16}, values[1]]
    assert values[1]["a"] == 2


def test_lineage_of_anything():
    assert lineage("c", {"c": "b", "b": "a"}.get) == ["a", "b", "c"]
    assert lineage("a", {}.get) == ["a"]


def test_what_has_no_former_score_is_not_smoothed():
    smoothed = smooth(np.array([1.0, 2.0, np.nan]), np.array([3.0, np.nan, 1.0]), 0.25)
    np.testing.assert_array_equal(smoothed, [1.5, 2.0, np.nan])


def test_results_are_printed_for_each_generation(capsys):
    scores = np.array([[0.5, np.nan, 0.25], [0.5, 0.75, 1.0]])
    steps = [
        Step(2, "zero", {}, 0.25, scores[0]),
        Step(2, None, {"x": 1}, 1, scores[1]),
    ]
    print_results("val_accuracy", "max", steps)
    _, header, *lines = capsys.readouterr().out.splitlines()
    names = ["generation", "best", "mean", "worst", "failed", "score"]
    assert header.split() == [*names, "trained", "with"]
    assert [line.split() for line in lines] == [
        ["1", "0.5000", "0.3750", "0.2500", "1", "0.2500", "zero"],
        ["2", "1.0000", "0.7500", "0.5000", "0", "1.0000", "x", "1"],
    ]
    print_results("val_loss", "min", steps, last=1)
    (line,) = capsys.readouterr().out.splitlines()[2:]
    assert line.split()[:4] == ["2", "0.5000", "0.7500", "1.0000"]


def test_a_schedule_has_the_epochs_that_were_trained():
    policies = [Policy.zero(repeats=1), Policy.constant(0.5, 0.5, repeats=1)]
    steps = [Step(n, p, {}, 1.0, None) for n, p in zip((2, 3, 0), policies * 2)]
    assert [s[:2] for s in schedule_of(steps).segments] == [
        (2, policies[0]),
        (3, policies[1]),
    ]


ARGUMENTS = {
    "population_size": 2,
    "smoothing": 0.5,
    "quantile": 0.25,
    "initial": "zero",
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 0}, "at least 1. Received: population_size=0"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"quantile": 0.6}, "quantile=0.6"),
        ({"quantile": 0}, "quantile=0"),
        ({"initial": "default"}, "initial='default'"),
    ],
)
def test_arguments_of_all_searches(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(**{**ARGUMENTS, **arguments})


def test_seeds():
    assert check_seed(0) == 0
    assert check_seed(None) != check_seed(None)
    with pytest.raises(ValueError, match="seed=-1"):
        check_seed(-1)


def test_validation_data_is_needed():
    check_validation({"validation_split": 0.1})
    check_validation({"validation_data": 1})
    with pytest.raises(ValueError, match=r"validation_split`. Received: \['x'\]"):
        check_validation({"x": 1})


def test_policies_of_several_layers_are_printed_in_several_lines(capsys):
    policy = Policy({"class_mixing": (0.5, 0.25)})
    step = Step(1, (policy,) * 3, {"x": 1e-5}, 1, np.ones(1))
    print_results("val_loss", "min", [step])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert max(map(len, lines)) <= 88
    assert [line[:56].strip() for line in lines[1:]] == [""] * (len(lines) - 1)
    trained_with = " ".join(line[56:].strip() for line in lines)
    assert trained_with == f"{policy} | {policy} | {policy}, x 1e-05"


def test_a_generation_in_which_all_failed_is_printed(capsys):
    steps = [Step(1, Policy.zero(), {}, np.nan, np.array([np.nan, np.nan]))]
    print_results("val_loss", "min", steps)
    assert capsys.readouterr().out.splitlines()[-1].split()[:6] == [
        *("1", "nan", "nan", "nan", "2", "nan")
    ]
