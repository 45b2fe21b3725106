import keras
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt
from portable import array
from problems import compile_, make_data, modals_model

from keras_modals import Policy, PolicySchedule
from keras_modals._src.evaluation.latents import latents_dataframe
from keras_modals._src.evaluation.runs import COLUMNS
from keras_modals._src.plots.style import color_of, marker_of
from keras_modals.evaluation import Comparison, LatentMonitor
from keras_modals.plots import (
    plot_classes,
    plot_comparison,
    plot_discriminator,
    plot_latents,
    plot_learning_curves,
    plot_losses,
    plot_schedule,
)

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
    """Returns the position and fill of the marks by method name."""
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
    assert ax.get_title().split("\n") == [
        dataset or "mean of 2 data sets",
        "filled: p < 0.05, corrected for 2 methods",
    ]


def test_comparison_names_all_methods_of_the_correction_not_those_shown():
    ax = plot_comparison(comparison(["a"]), "a", ["sure"])
    assert ax.get_title().endswith("corrected for 2 methods")


def test_comparison_draws_on_given_axes_and_with_one_seed():
    result = comparison(["a"], "log_loss")
    result.runs = result.runs.query("seed == 0")
    _, ax = plt.subplots()
    assert plot_comparison(result, "a", ["sure"], ax=ax) is ax
    assert list(marks(ax)) == ["sure"]
    assert ax.get_title() == "a"
    assert ax.get_xlabel().endswith("log loss from none, nats")


def test_less_of_an_error_is_on_top():
    ax = plot_comparison(comparison(["a"], "rmse"), "a")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sure", "noise"]
    assert ax.get_xlabel().endswith("rmse from none, in units of the target")


def test_learning_curves():
    result = comparison(["a", "a:0.5"])
    ax = plot_learning_curves(result, "a", {100: "a", 50: "a:0.5"}, ["none", "sure"])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["none", "sure"]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert {tuple(line.get_xdata()) for line in lines} == {(50, 100)}
    # Lines differ by more than color.
    markers = [container[0].get_marker() for container in ax.containers]
    assert len(set(markers)) == 2
    assert ax.get_ylabel() == "test accuracy, %"


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.fixture
def trained(rng):
    x, y = make_data(rng, 60)
    model = compile_(
        modals_model(policy=Policy.constant(0.5, 0.4)),
        triplet_weight=0.1,
        prior_weight=0.01,
    )
    monitor = LatentMonitor(x, y)
    history = model.fit(
        x, y, validation_data=(x, y), epochs=3, callbacks=[monitor], verbose=0
    )
    return model, x, y, history, monitor


def test_latents_clean_and_moved(trained):
    model, x, y, *_ = trained
    before = model.get_weights()
    frame = latents_dataframe(model, x, y, {"hard_extrapolation": 0.5})
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    clean, moved = (
        group.filter(like="z").to_numpy()
        for _, group in frame.groupby("operation", sort=False)
    )
    encoder = keras.Model(model.input, model.get_layer("latents").output)
    np.testing.assert_allclose(clean, encoder.predict(x, verbose=0), rtol=1e-5)
    # Latents move away from the mean of the class's latents in the memory.
    mean = array(model.latent_augmentation.memory.statistics(y).mean)
    np.testing.assert_allclose(moved, clean + 0.5 * (clean - mean), atol=1e-4)


def test_plot_latents(trained):
    model, x, y, *_ = trained
    ax = plot_latents(model, x, y, arrows=5, class_names=["a", "b", "c"])
    moves = len(model.latent_augmentation.policy.operations)
    assert moves == 4
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    assert len(arrows) == 5 * moves
    names = ["hard interpolation", "hard extrapolation", "gaussian noise"]
    assert legend_of(ax) == ["a", "b", "c", *names, "difference transform"]
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(x)


def test_plot_losses_and_discriminator(trained):
    *_, history, _ = trained
    losses = ["loss", "val loss", "triplet loss", "adversarial loss"]
    ax = plot_losses(history)
    assert legend_of(ax) == [*losses, "discriminator loss"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.history["loss"])
    assert ax.get_title().startswith("The adversarial loss rises where")
    ax = plot_discriminator(history)
    assert legend_of(ax) == ["discriminator accuracy", "prior distance"]
    del history.history["prior_distance"]
    with pytest.raises(ValueError, match="positive `prior_weight`"):
        plot_discriminator(history)


def test_plot_classes(trained):
    monitor = trained[-1]
    ax = plot_classes(monitor, "spread", ["a", "b", "c"])
    assert legend_of(ax) == ["a", "b", "c"]
    of_b = monitor.frame.query("label == 1")
    np.testing.assert_allclose(ax.lines[1].get_ydata(), of_b["spread"])
    assert ax.lines[1].get_xdata().tolist() == [1, 2, 3]
    ax = plot_classes(monitor, "drift")
    assert ax.lines[0].get_xdata().tolist() == [2, 3]
    ax = plot_classes(monitor, "relabeled")
    assert legend_of(ax)[2] == "gaussian noise"
    of_noise = monitor.frame.groupby("epoch")["relabeled_gaussian_noise"].mean()
    np.testing.assert_allclose(ax.lines[2].get_ydata(), 100 * of_noise)
    with pytest.raises(ValueError, match="quantity='width'"):
        plot_classes(monitor, "width")


def test_many_lines_are_told_apart():
    styles = {(color_of(index), marker_of(index)) for index in range(128)}
    assert len(styles) == 128
    assert len({color_of(index) for index in range(16)}) == 16


def test_lines_of_a_schedule_at_the_same_value_all_show():
    ax = plot_schedule(PolicySchedule([(2, Policy.constant(0.5, 0.4))]))
    widths = [line.get_linewidth() for line in ax.lines]
    assert len(widths) == 4
    assert np.all(np.diff(widths) <= -1)


@pytest.mark.parametrize(("quantity", "column"), [("probability", 0), ("magnitude", 1)])
def test_plot_schedule(quantity, column):
    policies = [Policy({"gaussian_noise": [(0.1, 0.2), (0.3, 0.8)]})]
    policies.append(policies[0].with_values([0.5, 0.7], [0.4, 1.0]))
    schedule = PolicySchedule([(2, policies[0]), (3, policies[1])])
    ax = plot_schedule(schedule, quantity)
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [0, 2, 5]
    expected = [(0.2, 0.5), (0.6, 0.7)]
    levels = [pair[column] for pair in expected]
    np.testing.assert_allclose(line.get_ydata(), [*levels, levels[-1]])
    assert legend_of(ax) == ["gaussian noise"]
    with pytest.raises(ValueError, match="quantity='both'"):
        plot_schedule(schedule, "both")
