import numpy as np
import pytest

from keras_modals.search.exploit import exploit
from keras_modals.search.explore import pba_explore
from keras_modals.search.population import Levels, Population, start_values
from keras_modals.search.trials import Trials

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
    start = start_values(LEVELS, [0, 5], size)
    return Population(LEVELS, start, shared, [5] * len(shared), **settings)


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
    # The best is the first now.
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
            # A parent's first bearer is itself.
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
    # What each member has inherited, told by a history of its own.
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


def test_random_start_leaves_the_first_member_alone(rng):
    start = start_values(LEVELS, [0, 5], 50, rng)
    np.testing.assert_array_equal(start[0], [0, 5])
    assert len(np.unique(start[1:], axis=0)) > 20


@pytest.mark.parametrize(("score_after", "kept"), [(0.2, True), (0.75, False)])
def test_trials_keep_what_helps_and_revert_what_does_not(score_after, kept):
    trials = Trials([Levels("c", range(11))], lambda levels, value, rng: value + 1)
    rng = np.random.default_rng(0)
    values = np.array([5.0])
    assert trials.next(values, 1.0, rng) == 5
    # From 1 to 0.8: that is what a generation gains.
    tried = trials.next(values, 0.8, rng)
    assert tried == 6
    assert trials.next(tried, score_after, rng) == (6 if kept else 5)
