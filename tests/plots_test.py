import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from keras_modals.evaluation import Comparison
from keras_modals.evaluation.comparison import COLUMNS
from keras_modals.plots import plot_comparison, plot_learning_curves

SURE, NOISE = [0.1, 0.11, 0.1, 0.12], [0.1, -0.1, 0.1, -0.05]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def comparison(datasets, metric="accuracy"):
    rows = [
        (dataset, method, seed, split, metric, 0.5 + change)
        for dataset in datasets
        for method, changes in {"none": [0.0] * 4, "sure": SURE, "noise": NOISE}.items()
        for seed, change in enumerate(changes)
        for split in ("validation", "test")
    ]
    return Comparison(pd.DataFrame(rows, columns=COLUMNS), metric)


def marks(ax):
    """Position and fill of the marks, by the method's name."""
    names = dict(zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()]))
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    return {
        names[line.get_ydata()[0]]: (line.get_xdata()[0], line.get_markerfacecolor())
        for line in lines
    }


@pytest.mark.parametrize("dataset", ["a", None])
def test_comparison_shows_each_change_and_what_is_sure(dataset):
    ax = plot_comparison(comparison(["a", "b"]), dataset)
    found = marks(ax)
    assert found["sure"][0] == pytest.approx(100 * np.mean(SURE))
    assert found["noise"][0] == pytest.approx(100 * np.mean(NOISE))
    assert found["sure"][1] != "white"
    assert found["noise"][1] == "white"
    # The best is on top.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["noise", "sure"]
    assert ax.get_xlabel() == "change in test accuracy from none, points"
    assert ax.get_title() == (dataset or "mean of 2 data sets")


def test_comparison_draws_on_given_axes_and_with_one_seed():
    result = comparison(["a"], "log_loss")
    result.runs = result.runs.query("seed == 0")
    _, ax = plt.subplots()
    assert plot_comparison(result, "a", ["sure"], ax=ax) is ax
    assert list(marks(ax)) == ["sure"]
    assert ax.get_xlabel().endswith("log loss from none, nats")


def test_learning_curves():
    result = comparison(["a", "a:0.5"])
    ax = plot_learning_curves(result, "a", {100: "a", 50: "a:0.5"}, ["none", "sure"])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["none", "sure"]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert {tuple(line.get_xdata()) for line in lines} == {(50, 100)}
    # Told apart by more than colour.
    markers = [container[0].get_marker() for container in ax.containers]
    assert len(set(markers)) == 2
    assert ax.get_ylabel() == "test accuracy, %"
