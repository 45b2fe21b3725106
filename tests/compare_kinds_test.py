"""Tests `compare` with targets other than one class per sample."""

import keras
import numpy as np
import pandas as pd
import pytest
from portable import BACKEND
from sklearn.datasets import load_diabetes

import keras_modals
from keras_modals import Classes, MultiLabels, Positions, Values
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.partition import by_labels, by_strata, quantile_bins
from keras_modals._src.evaluation.runs import COLUMNS, RunFile
from keras_modals.evaluation import (
    METHODS,
    Comparison,
    Method,
    NotApplicableError,
    Trial,
)

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
    """`compare` drew these indices before it supported other kinds of labels."""
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


def test_every_part_has_every_label_in_proportion(rng):
    """This includes rare labels, which a random split would often omit from a part."""
    rates = np.array([0.5, 0.2, 0.05, 0.02])
    targets = (rng.random((500, 4)) < rates).astype("float32")
    targets[:20] = -1.0
    known = targets[20:]
    for seed in range(3):
        parts = kind_of(MultiLabels(4), (None, 4)).split(targets, (0.2, 0.2), seed)
        assert sorted(np.concatenate(parts)) == list(range(500))
        for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
            assert len(part) == pytest.approx(500 * share, abs=3)
            found = (targets[part] > 0).sum(axis=0)
            np.testing.assert_allclose(found, share * known.sum(axis=0), atol=2)
    again = kind_of(MultiLabels(4), (None, 4)).split(targets, (0.2, 0.2), 2)
    assert all(map(np.array_equal, parts, again))
    other = kind_of(MultiLabels(4), (None, 4)).split(targets, (0.2, 0.2), 3)
    assert not np.array_equal(parts[0], other[0])


def test_a_label_of_five_samples_is_in_every_part():
    present = np.zeros((100, 2), bool)
    present[:50, 0] = True
    present[[3, 9, 60, 80, 99], 1] = True
    for seed in range(5):
        parts = by_labels(present, (0.2, 0.2), seed)
        assert [present[part, 1].sum() for part in parts] == [3, 1, 1]


def test_positions_are_split_by_what_a_sample_has_somewhere(rng):
    targets = np.zeros((50, 6), int)
    targets[::5, 2] = 1
    targets[:, 5] = -1
    parts = kind_of(Positions(Classes(2)), (None, 6, 2)).split(targets, (0.2, 0.2), 0)
    assert [len(part) for part in parts] == [30, 10, 10]
    assert [(targets[part] == 1).sum() for part in parts] == [6, 2, 2]


# Scores ------------------------------------------------------------------------


def test_scores_of_numbers_by_hand():
    kind = kind_of(Values(), (None, 1))
    scores = kind.all_scores(np.array([0.0, 2.0, 4.0]), np.array([[1.0], [2.0], [2.0]]))
    # The errors are 1, 0 and 2. The sum of squares around the mean target is 8.
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


LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], "float32")
OUTPUTS = np.array([[0.9, 0.6, 0.1], [0.2, 0.7, 0.1], [0.8, 0.4, 0.1], [0.1, 0.3, 0.1]])


def test_scores_of_several_labels_by_hand():
    scores = kind_of(MultiLabels(3), (None, 3)).all_scores(LABELS, OUTPUTS)
    # Ranked by score, samples are right, wrong, right for the first label, and for the
    # second one, too. The third label never occurs, and counts neither here nor in F1.
    precision = (1 + 2 / 3) / 2
    assert scores["average_precision"] == pytest.approx(precision)
    # Each label has one true positive, one false positive and one false negative.
    assert scores["macro_f1"] == pytest.approx(0.5)
    assert scores["micro_f1"] == pytest.approx(0.5)
    assert scores["accuracy"] == pytest.approx(8 / 12)
    of_labels = np.where(LABELS > 0, OUTPUTS, 1 - OUTPUTS)
    assert scores["log_loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-5)


def test_samples_without_labels_count_in_no_score():
    kind = kind_of(MultiLabels(3), (None, 3))
    labels = np.concatenate([LABELS, [[-1, 1, 0]]])
    outputs = np.concatenate([OUTPUTS, [[0.5, 0.1, 0.9]]])
    assert kind.all_scores(labels, outputs) == kind.all_scores(LABELS, OUTPUTS)


def test_several_labels_from_logits_and_without_any():
    kind = kind_of(MultiLabels(3), (None, 3))
    scores = kind.all_scores(LABELS, np.log(OUTPUTS / (1 - OUTPUTS)), from_logits=True)
    expected = kind.all_scores(LABELS, OUTPUTS)
    assert scores == pytest.approx(expected, rel=1e-5)
    none = kind.all_scores(np.zeros((2, 3)), np.full((2, 3), 0.1))
    assert none["average_precision"] == none["macro_f1"] == none["micro_f1"] == 0.0
    bad = kind.all_scores(LABELS, np.full((4, 3), np.nan))
    assert bad["log_loss"] == pytest.approx(np.log(2))
    assert bad["average_precision"] == pytest.approx(0.5)


#: Two samples of three positions. -1 is padding, and 255 has no label.
TOKENS = np.array([[0, 1, -1], [2, 255, 1]])
#: Correct, except that the last token is predicted as the third class.
RIGHT = np.eye(3)[[[0, 1, 2], [2, 0, 2]]] * 0.7 + 0.1


@pytest.mark.parametrize("form", ["indices", "rows"])
def test_scores_of_positions_by_hand(form):
    kind = kind_of(Positions(Classes(3)), (None, 3, 3), ignored=(-1, 255))
    targets = TOKENS
    if form == "rows":
        targets = (TOKENS[..., None] == np.arange(3)).astype("float32")
    scores = kind.all_scores(targets, RIGHT)
    # Three of four labels are correct. The classes have IoUs of 1/1, 1/2 and 1/2.
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["mean_iou"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    expected = -(3 * np.log(0.8) + np.log(0.1)) / 4
    assert scores["log_loss"] == pytest.approx(expected, rel=1e-5)


def test_scores_of_several_labels_at_each_position():
    kind = kind_of(Positions(MultiLabels(3)), (None, 2, 2, 3))
    scores = kind.all_scores(LABELS.reshape(1, 2, 2, 3), OUTPUTS.reshape(1, 2, 2, 3))
    expected = kind_of(MultiLabels(3), (None, 3)).all_scores(LABELS, OUTPUTS)
    # Each label has one true positive, one false positive and one false negative.
    assert scores == {"mean_iou": pytest.approx(1 / 3), **expected}


# Rare labels -------------------------------------------------------------------


class Spy(Trial):
    """A trial that stores its training data instead of training."""

    def fit(self, model, *data, **arguments):
        self.seen = {"data": data, **arguments}
        return model


def seen_by(method, kind, targets, **setting):
    x = np.arange(len(targets))
    trial = Spy((x, targets), (x, targets), kind, 0, epochs=1, batch_size=8)
    METHODS[method].train(trial, None, **setting)
    return trial.seen


def test_weights_of_several_labels_by_hand():
    # Of ten samples, eight have the first label, and two of these also the second. One
    # has neither label, and one is unlabeled.
    targets = np.zeros((10, 2), "float32")
    targets[:8, 0] = 1
    targets[:2, 1] = 1
    targets[9] = -1
    weights = seen_by("class weights", kind_of(MultiLabels(2), (None, 2)), targets)
    rarity = np.array([(1 / 8 + 1 / 2) / 2] * 2 + [1 / 8] * 6 + [1.0, 0.0])
    expected = rarity * 9 / rarity.sum()
    np.testing.assert_allclose(weights["sample_weight"], expected, rtol=1e-6)


def test_weights_of_one_label_each_are_those_of_classes():
    labels = np.repeat([0, 1, 2], [6, 3, 1])
    by_class = seen_by("class weights", kind_of(Classes(3), (None, 3)), labels)
    rows = np.eye(3, dtype="float32")[labels]
    weights = seen_by("class weights", kind_of(MultiLabels(3), (None, 3)), rows)
    expected = [by_class["class_weight"][label] for label in labels]
    np.testing.assert_allclose(weights["sample_weight"], expected, rtol=1e-6)


def test_weights_of_positions_are_those_of_classes_of_all_positions():
    targets = np.array([[0, 0, 0, 1], [0, 0, 0, -1]])
    kind = kind_of(Positions(Classes(3)), (None, 4, 3), ignored=(-1,))
    weights = seen_by("class weights", kind, targets)["sample_weight"]
    often, rare = 7 / (2 * 6), 7 / (2 * 1)
    expected = [[often, often, often, rare], [often, often, often, 0.0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_oversampling_repeats_by_the_rarest_label():
    # There are 64 samples of the first label, 16 of the second and 4 of the third. The
    # square roots of their relative rarity are 1, 2 and 4.
    targets = np.zeros((70, 3), "float32")
    targets[:64, 0] = 1
    targets[:16, 1] = 1
    targets[12:16, 2] = 1
    seen = seen_by("oversampling", kind_of(MultiLabels(3), (None, 3)), targets)
    times = np.bincount(seen["data"][0], minlength=70)
    assert times.tolist() == [2] * 12 + [4] * 4 + [1] * 54
    np.testing.assert_array_equal(seen["data"][1], targets[seen["data"][0]])


def test_oversampling_repeats_by_chance_what_is_no_whole_number():
    targets = np.zeros((300, 2), "float32")
    targets[:200, 0] = 1
    targets[200:, 1] = 1
    seen = seen_by("oversampling", kind_of(MultiLabels(2), (None, 2)), targets)
    times = np.bincount(seen["data"][0])[200:]
    assert set(times) == {1, 2}
    assert times.mean() == pytest.approx(2**0.5, abs=4 * 0.05)


def test_oversampling_of_positions_repeats_samples_by_what_they_have_somewhere():
    targets = np.zeros((16, 5), int)
    targets[3, 2] = 1
    targets[:, 4] = -1
    kind = kind_of(Positions(Classes(2)), (None, 5, 2), ignored=(-1,))
    times = np.bincount(seen_by("oversampling", kind, targets)["data"][0])
    assert times.tolist() == [1, 1, 1, 4] + [1] * 12


def test_labels_are_smoothed_towards_a_half():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    targets = np.array([[1.0, 0.0], [-1.0, 0.0]], "float32")
    kind = kind_of(MultiLabels(2), (None, 2), ignored=(-1,))
    trial = Spy((None, targets), (None, targets), kind, 0, epochs=1, batch_size=8)
    METHODS["label smoothing"].train(trial, model, smoothing=0.2)
    np.testing.assert_allclose(trial.seen["data"][1], [[0.9, 0.1], [-1.0, 0.0]])
    np.testing.assert_array_equal(trial.seen["validation_data"][1], targets)


# End to end ----------------------------------------------------------------------


def test_diabetes():
    """Targets are in tens. The table shows errors in this unit, and R² in points."""
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
    # A linear model reaches about 0.45, which is close to the best possible.
    assert 25 < level < 65
    assert none.startswith(f"  none           {level:6.2f} ± ")
    assert mixing.split()[:2] == ["latent", "mixing"]
    result.metric = "rmse"
    first, none, *_ = str(result).splitlines()
    assert first == "data: test rmse, in units of the target, 2 seeds"
    level = result.summary().loc[("data", "none"), "mean"]
    assert 4.5 < level < 7.5
    assert none.startswith(f"  none           {level:6.3f} ± ")


def build_labels(output="sigmoid", loss="binary_crossentropy", width=3):
    def build():
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(width, output)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(keras.optimizers.Adam(1e-2), loss)
        return model

    return build


def build_positions():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((5, 4)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    return model


def make_labels(rng, samples=60):
    x = rng.normal(size=(samples, 4)).astype("float32")
    return x, (x[:, :3] > 0.5).astype("float32")


def make_positions(rng, samples=60):
    x = rng.normal(size=(samples, 5, 4)).astype("float32")
    labels = np.digitize(x[..., 0], [0.0, 1.0])
    labels[:, 4] = -1
    return x, labels


NEEDS_CLASSES = {"SMOTE": "needs one class for each sample"}
CAN_BE_RARE = "needs classes, or labels, that can be rare"
KINDS = {
    "values": (
        build_values(),
        make_values,
        {
            **NEEDS_CLASSES,
            **dict.fromkeys(
                (
                    "class weights",
                    "oversampling",
                    "latent mixing, class weights",
                    "latent mixing, oversampling",
                ),
                CAN_BE_RARE,
            ),
            "label smoothing": "needs one class, or several labels at once, for each",
        },
    ),
    "labels": (
        build_labels(),
        make_labels,
        {**NEEDS_CLASSES, "C-Mixup": "needs targets that are numbers"},
    ),
    "positions": (
        build_positions,
        make_positions,
        {
            **NEEDS_CLASSES,
            "C-Mixup": "needs targets that are numbers",
            "label smoothing": "needs one class, or several labels at once, for each",
            "one-run search": "needs labels of whole samples",
        },
    ),
}


#: One method for each way to train.
TRIED = (
    "none",
    "label smoothing",
    "input noise",
    "mixup",
    "C-Mixup",
    "class weights",
    "oversampling",
    "SMOTE",
    "hard interpolation",
    "latent mixing",
    "latent mixing, oversampling",
    "one-run search",
)


def eager(build):
    """Runs eagerly on TensorFlow, where building graphs would take most of the time."""

    def build_eager():
        model = build()
        config = model.get_compile_config()
        model.compile_from_config({**config, "run_eagerly": BACKEND == "tensorflow"})
        return model

    return build_eager


@pytest.mark.parametrize("kind", KINDS)
def test_methods_that_have_a_meaning_train_and_others_say_why(kind, rng):
    build, make, skipped = KINDS[kind]
    skipped = {name: skipped[name] for name in TRIED if name in skipped}
    methods = {
        name: Method(METHODS[name].train, METHODS[name].grid[-1:]) for name in TRIED
    }
    result = keras_modals.compare(eager(build), make(rng), methods, 1, **FAST)
    assert result.skipped.keys() == skipped.keys()
    for name, reason in skipped.items():
        assert result.skipped[name].startswith(f"not applicable, {reason}")
    assert set(result.summary().loc["data"].index) == set(TRIED) - skipped.keys()
    scores = result.runs.query("split == 'test'")["value"]
    assert np.isfinite(scores).all()


def test_what_can_be_learned_is_learned(rng):
    """A guess scores the share of the label, which is less than a third."""
    for build, data, metric in (
        (build_labels(), make_labels(rng, 400), "average_precision"),
        (build_positions, make_positions(rng, 300), "mean_iou"),
    ):
        result = keras_modals.compare(build, data, ["none"], 1, epochs=20, verbose=0)
        assert result.metric == metric
        assert result.summary().loc[("data", "none"), "mean"] > 60


@pytest.mark.parametrize("near", [True, False])
def test_c_mixup_mixes_what_is_near(near, rng):
    """With a small bandwidth, two clusters of targets are not mixed with each other."""
    x = np.repeat([[0.0], [1.0]], 30, axis=0).astype("float32")
    y = 10 * x[:, 0]
    seen = []

    class Look(keras.layers.Layer):
        def call(self, inputs, training=None):
            if training:
                seen.append(keras.ops.convert_to_numpy(inputs))
            return inputs

    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(Look()(inputs)))
    model.compile("sgd", "mse", run_eagerly=True)
    kind = kind_of(Values(), (None, 1))
    trial = Trial((x, y), (x, y), kind, 0, epochs=1, batch_size=20)
    METHODS["C-Mixup"].train(trial, model, bandwidth=0.05 if near else 50.0)
    is_mixed = np.abs(np.concatenate(seen) - 0.5) < 0.49
    assert is_mixed.any() == (not near)


# Reports -----------------------------------------------------------------------


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


def test_errors_in_small_units_are_kept(tmp_path):
    for path in (None, tmp_path / "runs.csv"):
        file = RunFile(path)
        values = {"rmse": 1.23456789e-9, "r2": 0.123456789}
        file.append("d", "m", 0, {("test", name): v for name, v in values.items()})
        assert file.read()["value"].tolist() == [1.23456789e-9, 0.123457]


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


def test_classes_that_a_loss_ignores_count_nowhere():
    kind = kind_of(Classes(2), (None, 2), ignored=(-1,))
    labels, outputs = (
        np.array([0, 0, 1]),
        np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]),
    )
    some = np.append(labels, -1), np.append(outputs, [[0.6, 0.4]], axis=0)
    assert kind.all_scores(*some) == kind.all_scores(labels, outputs)
    kind.check(some[0])
    assert seen_by("class weights", kind, some[0]) == {
        "data": (),
        "class_weight": {0: 3 / 4, 1: 3 / 2},
    }
    times = np.bincount(seen_by("oversampling", kind, some[0])["data"][0])
    assert times[2:].tolist() == [2, 1]
    with pytest.raises(NotApplicableError, match="needs a class for every sample"):
        METHODS["SMOTE"].train(Trial(some[::-1], (), kind, 0, 1, 1), None)


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        (
            kind_of(MultiLabels(2), (None, 2)),
            "binary_focal_crossentropy",
            "needs the loss binary_crossentropy, not the loss binary_focal_cross",
        ),
        (kind_of(Classes(2), (None, 2)), "mse", "needs a crossentropy, not the loss"),
    ],
)
def test_labels_are_smoothed_of_a_crossentropy_alone(kind, loss, message):
    model = build_labels(loss=loss)()
    with pytest.raises(NotApplicableError, match=message):
        METHODS["label smoothing"].train(Trial((), (), kind, 0, 1, 1), model, 0.1)


# Choices and errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("compiled", "expected"),
    [
        ({"metrics": ["mae"]}, "val_loss"),
        ({"metrics": ["accuracy"]}, "val_loss"),
    ],
)
def test_a_regression_is_monitored_by_its_loss(compiled, expected, rng):
    seen = []

    def look(trial, model):
        seen.append((trial.monitor, trial.direction))
        return model

    build = build_values(**compiled)
    keras_modals.compare(build, make_values(rng), {"look": look}, 1, **FAST)
    assert seen == [(expected, "min")]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (["accuracy"], "val_accuracy"),
        ([keras.metrics.SparseCategoricalAccuracy(name="accuracy")], "val_accuracy"),
        (
            [keras.metrics.SparseCategoricalAccuracy()],
            "val_sparse_categorical_accuracy",
        ),
        ([keras.metrics.SparseTopKCategoricalAccuracy(2)], "val_loss"),
        (None, "val_loss"),
    ],
)
def test_classes_are_monitored_by_their_accuracy_where_there_is_one(
    metrics, expected, rng
):
    seen = []

    def look(trial, model):
        seen.append(trial.monitor)
        return model

    def build():
        model = build_labels("softmax")()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
        return model

    data = rng.normal(size=(60, 4)), np.arange(60) % 3
    keras_modals.compare(build, data, {"look": look}, 1, **FAST)
    assert seen == [expected]


@pytest.mark.parametrize("name", ["val_mae", "val_mse", "val_loss", "val_my_error"])
def test_less_of_a_log_that_is_an_error_is_better(name):
    assert Trial((), (), None, 0, 1, 1, monitor=name).direction == "min"


def test_labels_can_be_said(rng):
    """A custom loss does not imply the kind of labels."""

    def own(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    data = make_values(rng)
    build = build_values(loss=own)
    with pytest.raises(ValueError, match=r"`labels=keras_modals.Values\(\)`"):
        keras_modals.compare(build, data, ["none"], 1, **FAST)
    result = keras_modals.compare(build, data, ["none"], 1, labels=Values(), **FAST)
    assert result.metric == "r2"


def test_a_file_keeps_other_labels_apart(rng, tmp_path):
    arguments = {**FAST, "path": tmp_path / "runs.csv"}
    data = make_values(rng)
    keras_modals.compare(build_values(), data, ["none"], 1, **arguments)
    assert Comparison.read(arguments["path"]).metric == "r2"
    with pytest.raises(ValueError, match=r"other settings.*Values\(num_bins=5\)"):
        keras_modals.compare(
            build_values(), data, ["none"], 1, labels=Values(5), **arguments
        )


X = np.zeros((40, 4), "float32")
LABEL_ROWS = np.tile(np.eye(3), (14, 1))[:40] + np.eye(40, 3, -1)


@pytest.mark.parametrize(
    ("build", "targets", "change", "message"),
    [
        (build_values(), np.zeros(40), {"labels": 3}, r"MultiLabels.*labels=3"),
        (
            build_values(),
            np.zeros(40),
            {"metric": "accuracy"},
            r"r2.*rmse.*mae.*metric='accuracy'",
        ),
        (
            build_labels(),
            LABEL_ROWS,
            {"metric": "mean_iou"},
            r"average_precision.*micro_f1.*metric='mean_iou'",
        ),
        (
            build_values(3),
            np.zeros(40),
            {},
            r"as many numbers per sample.*shape \(40,\).*\(None, 3\)",
        ),
        (build_values(), np.full(40, np.nan), {}, "Targets must be finite"),
        (build_labels(), 2 * LABEL_ROWS, {}, r"must be in \[0, 1\]"),
        (
            build_labels("softmax", "sparse_categorical_crossentropy"),
            np.arange(40) % 3,
            {"labels": Values()},
            r"loss.*sparse_categorical_crossentropy",
        ),
        (build_labels(None), LABEL_ROWS, {}, r"not probabilities.*a sigmoid"),
    ],
)
def test_refuses(build, targets, change, message):
    x = np.random.default_rng(0).normal(size=X.shape) * 20
    arguments = {**FAST, **change}
    with pytest.raises(ValueError, match=message) as error:
        keras_modals.compare(build, (x, targets), ["none"], 1, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(40, 6), (40,)])
def test_refuses_other_positions(shape):
    data = np.zeros((40, 5, 4)), np.zeros(shape, int)
    message = r"[Ll]abel.* position.*Received: targets of shape"
    with pytest.raises(ValueError, match=message):
        keras_modals.compare(build_positions, data, ["none"], 1, **FAST)


def test_asks_which_of_several_outputs_is_compared():
    def build():
        inputs = keras.Input((4,))
        outputs = [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)]
        model = keras.Model(inputs, outputs)
        model.compile("adam", "mse")
        return model

    with pytest.raises(ValueError, match=r"with `label_output`. Expected one of"):
        keras_modals.compare(build, (X, np.zeros(40)), ["none"], 1, **FAST)
