"""`compare` of what is not one class for each sample."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

import keras_modals
from keras_modals import Classes, Values
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.partition import by_strata, quantile_bins
from keras_modals._src.evaluation.runs import COLUMNS
from keras_modals.evaluation import Comparison

FAST = {"epochs": 2, "batch_size": 20, "verbose": 0}


def build_values(columns=1, activation=None, loss="mse", **arguments):
    def build():
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(columns)]
        if activation:
            layers.append(keras.layers.Activation(activation))
        model = keras.Sequential([keras.Input((4,)), *layers])
        optimizer = keras.optimizers.Adam(1e-2)
        model.compile(optimizer, loss, **arguments)
        return model

    return build


def make_values(rng, samples=60):
    x = rng.normal(size=(samples, 4)).astype("float32")
    return x, x @ np.array([1.0, -2.0, 0.5, 0.0], "float32")


def nothing(trial, model):
    return model


# Splits ------------------------------------------------------------------------


def test_classes_are_split_as_they_were():
    """Indices that `compare` drew before it knew of other labels."""
    labels = np.repeat([0, 1, 2], [5, 10, 15])
    parts = kind_of(Classes(3), (None, 3)).split(labels, (0.2, 0.2), 7)
    assert [part.tolist() for part in parts] == [
        [28, 24, 29, 9, 17, 7, 5, 1, 20, 3, 19, 2, 27, 14, 21, 11, 13, 16],
        [26, 6, 15, 18, 10, 0],
        [4, 12, 8, 22, 25, 23],
    ]


def test_every_part_has_the_quantiles_of_the_targets(rng):
    targets = np.exp(3 * rng.normal(size=200))
    tenth = np.argsort(np.argsort(targets)) // 20
    parts = kind_of(Values(), (None, 1)).split(targets, (0.25, 0.2), 0)
    for part, each in zip(parts, (11, 5, 4), strict=True):
        assert np.bincount(tenth[part]).tolist() == [each] * 10
    assert sorted(np.concatenate(parts)) == list(range(200))


def test_bins_are_of_all_columns_in_their_own_units(rng):
    small = rng.normal(size=100)
    numbers = np.column_stack([small, 1000 * rng.permutation(small)])
    means = (numbers / numbers.std(axis=0)).mean(axis=1)
    expected = np.argsort(np.argsort(means)) // 10
    np.testing.assert_array_equal(quantile_bins(numbers, (0.2, 0.2)), expected)


@pytest.mark.parametrize(("samples", "bins"), [(19, None), (20, 2), (45, 4), (400, 10)])
def test_few_samples_have_few_bins(samples, bins):
    found = quantile_bins(np.arange(float(samples))[:, None], (0.2, 0.2))
    assert (None if found is None else 1 + found.max()) == bins
    parts = by_strata(samples, found, (0.2, 0.2), 0)
    assert sum(map(len, parts)) == samples
    if found is not None:
        assert all(set(found[part]) == set(range(bins)) for part in parts)


def test_numbers_that_are_all_alike_are_split_too():
    parts = kind_of(Values(), (None, 1)).split(np.zeros(40), (0.2, 0.2), 0)
    assert [len(part) for part in parts] == [24, 8, 8]


# Scores ------------------------------------------------------------------------


def test_scores_of_numbers_by_hand():
    kind = kind_of(Values(), (None, 1))
    scores = kind.all_scores(np.array([0.0, 2.0, 4.0]), np.array([[1.0], [2.0], [2.0]]))
    # Errors 1, 0 and 2; the targets have a sum of squares of 8 around their mean.
    assert scores["r2"] == pytest.approx(1 - 5 / 8)
    assert scores["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert scores["mae"] == pytest.approx(1.0)


def test_scores_of_columns_are_means():
    targets = np.array([[0.0, 0.0], [2.0, 40.0]])
    outputs = np.array([[0.0, 20.0], [2.0, 20.0]])
    scores = kind_of(Values(), (None, 2)).all_scores(targets, outputs)
    assert scores["r2"] == pytest.approx((1 + 0) / 2)
    assert scores["rmse"] == pytest.approx((0 + 20) / 2)
    assert scores["mae"] == pytest.approx((0 + 20) / 2)


def test_a_regression_that_diverged_scores_as_one_that_knows_nothing():
    kind, targets = kind_of(Values(), (None, 1)), np.array([0.0, 2.0, 4.0])
    for bad in (np.nan, np.inf, -np.inf):
        scores = kind.all_scores(targets, np.full((3, 1), bad, "float32"))
        assert scores["r2"] == 0.0
        assert scores["rmse"] == pytest.approx(targets.std())
    one = kind.all_scores(targets, np.array([0.0, np.nan, 4.0]))
    assert one["r2"] == 1.0


# All of it -----------------------------------------------------------------------


def test_diabetes():
    """Targets in tens: an error of the table is in their unit, its R² in points."""
    x, y = load_diabetes(return_X_y=True)
    x, y = (20 * x).astype("float32"), (y / 10).astype("float32")

    def build():
        layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((10,)), *layers])
        model.compile(keras.optimizers.Adam(2e-2), "mse")
        return model

    methods = ["latent mixing", "class weights", "label smoothing", "SMOTE"]
    result = keras_modals.compare(build, (x, y), methods, 2, epochs=8, verbose=0)
    assert set(result.skipped) == {"class weights", "label smoothing", "SMOTE"}
    assert all("not applicable, needs" in why for why in result.skipped.values())
    assert result.metric == "r2"
    first, none, mixing, *_ = str(result).splitlines()
    assert first == "data: test r2, points, 2 seeds"
    level = result.summary().loc[("data", "none"), "mean"]
    # What a linear model has, about 0.45, is not far from what there is.
    assert 25 < level < 65
    assert none.startswith(f"  none           {level:6.2f} ± ")
    assert mixing.split()[:2] == ["latent", "mixing"]
    result.metric = "rmse"
    first, none, *_ = str(result).splitlines()
    assert first == "data: test rmse, in units of the target, 2 seeds"
    level = result.summary().loc[("data", "none"), "mean"]
    assert 4.5 < level < 7.5
    assert none.startswith(f"  none           {level:6.3f} ± ")


# Words -------------------------------------------------------------------------


def comparison(metric, none, changes):
    rows = [
        ("d", method, seed, split, metric, none + change)
        for method, changes_ in {"none": [0.0] * len(changes), "m": changes}.items()
        for seed, change in enumerate(changes_)
        for split in ("validation", "test")
    ]
    return Comparison(pd.DataFrame(rows, columns=COLUMNS), metric)


@pytest.mark.parametrize(
    ("metric", "none", "change", "unit", "level", "shown"),
    [
        ("r2", 0.4, 0.01, "points", " 40.00", " +1.00"),
        ("r2", -1.5, 0.01, "points", "-150.00", " +1.00"),
        ("mean_iou", 0.4, 0.01, "points", " 40.00", " +1.00"),
        ("rmse", 0.00123, 0.0001, "in units of the target", "0.001230", "+0.000100"),
        ("rmse", 1.5, 0.1, "in units of the target", " 1.500", "+0.100"),
        ("mae", 54321.0, 10.0, "in units of the target", " 54321", "   +10"),
        ("mae", 0.0, 0.0, "in units of the target", "  0.00", " +0.00"),
    ],
)
def test_numbers_of_every_metric_can_be_read(metric, none, change, unit, level, shown):
    result = comparison(metric, none, [change, change])
    first, of_none, of_m, *_ = str(result).splitlines()
    assert first == f"d: test {metric.replace('_', ' ')}, {unit}, 2 seeds"
    assert of_none == f"  none  {level} ± {0:.{len(level.partition('.')[2])}f}"
    assert shown + " ± " in of_m


@pytest.mark.parametrize(
    ("metric", "sign", "verdict"),
    [("rmse", 1, "worse"), ("mae", -1, "better"), ("r2", 1, "better")],
)
def test_less_of_an_error_is_better(metric, sign, verdict):
    changes = [sign * change for change in (0.1, 0.11, 0.1, 0.12)]
    result = comparison(metric, 1.0, changes)
    assert result.summary().loc[("d", "m"), "verdict"] == verdict


def test_a_setting_with_the_least_error_is_chosen():
    rows = [
        ("d", method, 0, split, "rmse", error)
        for method, error in (("none", 2.0), ("m(a=1)", 3.0), ("m(a=2)", 1.0))
        for split in ("validation", "test")
    ]
    result = Comparison(pd.DataFrame(rows, columns=COLUMNS), "rmse")
    assert result.summary().loc[("d", "m"), "setting"].startswith("a=2")
