"""The benchmark's data and report; `compare`, which runs it, has its own tests."""

import itertools
import pathlib
import re

import keras
import numpy as np
import pandas as pd
import pytest
from portable import array

import keras_modals
from benchmarks import data, readme
from benchmarks.accuracy import context, problems, report, run, stored, studies
from benchmarks.accuracy.methods import IMBALANCE, RDrop, at_rates
from benchmarks.accuracy.problems import problem
from benchmarks.accuracy.studies import STUDIES
from keras_modals._src.evaluation.comparison import Comparison
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.runs import RunFile
from keras_modals._src.evaluation.splits import PARTS
from keras_modals._src.labels import Classes
from keras_modals.evaluation import METHODS, Method, Trial

README = pathlib.Path(__file__).parents[1] / "README.md"
RESULTS = README.parent / "benchmarks" / "accuracy"
#: Data sets that scikit-learn ships.
SHIPPED = ("iris", "breast", "wine", "digits")


@pytest.mark.parametrize("name", SHIPPED)
def test_parts_share_no_sample_and_the_test_part_stays(name):
    first, second = (data.load(name, seed) for seed in (0, 1))
    for dataset in (first, second):
        rows = [{x.tobytes() for x in part[0]} for part in dataset[3:6]]
        # Some flowers have equal measurements.
        shared = [len(rows[a] & rows[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert max(shared) <= (1 if name == "iris" else 0)
    assert first.train[0].tobytes() != second.train[0].tobytes()
    np.testing.assert_array_equal(first.test[1], second.test[1])


@pytest.mark.parametrize("name", studies.PACKAGED)
def test_classes_that_packages_ship(name):
    first, again, second = (_load(name, seed) for seed in (0, 0, 1))
    for one, same in zip(first[3:6], again[3:6], strict=True):
        for a, b in zip(one, same, strict=True):
            np.testing.assert_array_equal(a, b)
    assert first.train[0].tobytes() != second.train[0].tobytes()
    np.testing.assert_array_equal(first.test[1], second.test[1])
    is_text = name in ("languages", "splice")
    for dataset in (first, second):
        assert dataset.kind == "classes"
        rows = [{x.tobytes() for x in part[0]} for part in dataset[3:6]]
        assert not any(a & b for a, b in itertools.combinations(rows, 2))
        for x, y in dataset[3:6]:
            assert len(x) == len(y)
            assert x.dtype == ("int32" if is_text else "float32")
            assert y.dtype == "int32"
            assert set(y) == set(range(dataset.outputs))
    assert len(first.test[1]) >= 300
    assert np.bincount(first.test[1]).min() >= 20
    if is_text:
        assert first.train[0].max() < 2000
    elif name in ("silhouettes", "radicals"):
        assert (first.test[0].min(), first.test[0].max()) == (0, 1)
        np.testing.assert_array_equal(first.test[0], second.test[0])
    elif name != "japanese_vowels":
        np.testing.assert_allclose(first.train[0].mean(0), 0.0, atol=1e-3)
        np.testing.assert_allclose(first.train[0].std(0), 1.0, atol=1e-4)


def _distances(first, second):
    return np.stack(
        [np.abs(second - x).reshape(len(second), -1).sum(-1) for x in first]
    )


def test_changes_at_better_rates(tmp_path):
    rows = [
        (names[0], method, seed, 0.01 * (seed + score))
        for _, names in studies.OTHER_TARGETS.values()
        for method, score in {
            "none": 3,
            "none, rate 2": 1,
            "latent mixing": 2,
            "latent mixing, rate 2": 7,
            "mixup": 9,
        }.items()
        for seed in range(2)
    ]
    table = pd.DataFrame(rows, columns=["dataset", "method", "seed", "score"])
    for metric, _ in studies.OTHER_TARGETS.values():
        table[f"validation_{metric}"] = table["score"]
    table.to_csv(tmp_path / "results.csv")
    changes = dict(report.at_better_rates(tmp_path / "results.csv"))
    assert changes == dict.fromkeys(studies.OTHER_TARGETS, pytest.approx(4.0))


@pytest.mark.parametrize(("count", "others"), [(50, 1000), (100, 1000), (500, 657)])
def test_few_labels_and_many_samples(count, others):
    made = problem(f"digits+{count}")
    parts = made.load(1)
    (x, y), (more, theirs) = parts["train"], parts["unlabeled"]
    times = len(y) // count
    # All samples occur equally often. Epochs are not too short, and add up to about
    # 2,000 steps.
    for rows, kept in ((x, count), (more, others)):
        _, counts = np.unique(rows, axis=0, return_counts=True)
        assert (len(counts), set(counts)) == (kept, {times})
    steps = np.ceil(len(y) / made.batch_size)
    assert steps >= problems.STEPS_OF_AN_EPOCH
    assert 0 <= problems.STEPS_OF_FEW - steps * made.epochs < steps
    assert set(np.bincount(y)) == {len(y) // 10}
    assert len(theirs) == len(more)
    for first, second in itertools.combinations(
        (x, more, parts["validation"][0], parts["test"][0]), 2
    ):
        assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}


@pytest.mark.parametrize("name", ["silhouettes", "splice"])
def test_nearly_equal_samples_are_not_in_two_parts(name):
    dataset = _load(name)
    x, test = dataset.train[0], dataset.test[0]
    if name == "splice":
        # Letters are numbered from 2 to 5 by frequency.
        x, test = (np.eye(7, dtype="int32")[each] for each in (x, test))
        # With 22 of 30 letters equal, the similarity of a pair is 22 / 38 < 0.6.
        assert _distances(x, test).min() >= 2 * (30 - 22)
    else:
        x, test = ((each > 0.5).astype("int32") for each in (x, test))
        # Compare only within one animal, since two animals may look alike.
        y, y_test = dataset.train[1], dataset.test[1]
        for label in range(dataset.outputs):
            mine, others = x[y == label], test[y_test == label]
            differ, larger = _distances(mine, others), mine.sum((1, 2, 3))[:, None]
            assert np.all(differ >= 0.09 * larger)


def _load(name, seed=0):
    """Returns a data set. Skips the test if its package or file is missing."""
    try:
        return data.load(name, seed)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        return pytest.skip(str(error))


@pytest.mark.parametrize("name", STUDIES["targets"].datasets)
def test_other_targets(name):
    first, second = (_load(name, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test[1], second.test[1])
    assert first.train[1].tobytes() != second.train[1].tobytes()
    parts = first[3:6]
    rows = [{x.tobytes() for x in part[0]} for part in parts]
    # Parts may share the same words at the ends of two sentences, the same photo, or
    # a quiet moment.
    most = 0.05 * min(map(len, rows))
    assert all(len(a & b) <= most for a, b in itertools.combinations(rows, 2))
    for x, y in parts:
        assert len(x) == len(y)
        assert x.dtype == ("int32" if name.startswith(("jap", "turk")) else "float32")
        if first.kind == "values":
            assert y.dtype == "float32"
            assert y.ndim == 1
            assert np.abs(y).max() < 10
        elif first.kind == "labels":
            assert y.shape[1:] == (first.outputs,)
            assert set(np.unique(y)) == {0, 1}
        else:
            assert y.shape[1:] == x.shape[1 : y.ndim]
            padded = x.min(axis=-1) == 0 if x.ndim == 2 else np.zeros(len(x), bool)
            assert y.min() == (-1 if padded.any() else 0)
            assert y.max() == first.outputs - 1
            if x.ndim == 2:
                np.testing.assert_array_equal(y == -1, x == 0)


@pytest.mark.parametrize("name", ["diabetes", "yeast", "turkish_words", "nuclei"])
def test_a_model_for_each_kind_of_targets(name):
    dataset = _load(name)
    made = problem(name)
    x, y = (array[:4] for array in dataset.train)
    model = made.build_fn()
    if dataset.kind == "values":
        assert model.output_shape == (None, 1)
    else:
        assert model.output_shape[-1] == dataset.outputs
    if dataset.kind == "positions":
        assert model.output_shape[:-1] == (None, *y.shape[1:])
    before = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, epochs=20, batch_size=4, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < before
    assert set(made.load(0)) == {"train", "validation", "test", "test_id"}


def test_inputs_are_scaled_by_the_training_part_alone():
    dataset = data.load("breast", 3)
    np.testing.assert_allclose(dataset.train[0].mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(dataset.train[0].std(0), 1.0, atol=1e-4)
    assert np.abs(dataset.test[0].mean(0)).max() > 1e-3


def test_what_is_not_as_it_should_be_is_refused(monkeypatch):
    loader, expected = data.LOADERS["iris"]
    shape, train, valid, test = expected
    for wrong in (
        ((5,), train, valid, test),
        (shape, train + 4, valid, test),
        (shape, train, valid, (test[1], test[0], test[2])),
    ):
        monkeypatch.setitem(data.LOADERS, "iris", (loader, wrong))
        with pytest.raises(ValueError, match="'iris' is not what it should be"):
            data.load("iris")
    with pytest.raises(ValueError, match="Unknown data"):
        data.load("irsi")


def test_a_missing_file_is_named_with_its_original(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_MODALS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"abalone\.csv.*UCI"):
        data.load("abalone")


def test_a_long_tail_has_a_hundredth_of_its_head(monkeypatch):
    digits = data.LOADERS["digits"]
    # Use enough samples for the head: all except the test part.
    larger = data.tables.scikit_learn("digits", 1200)
    monkeypatch.setitem(data.LOADERS, "digits", (larger, None))
    tail = data.long_tailed("digits", 100)(np.random.default_rng(0))
    counts = np.sort(np.bincount(tail.train[1]))
    assert (counts[0], counts[-1]) == (1, 100)
    assert set(np.bincount(tail.valid[1])) == {20}
    assert np.bincount(tail.test[1]).tolist() == list(digits[1][-1])


def test_tuning_never_sees_the_test_part():
    tuning, final = problem("digits", tuning=True).load(0), problem("digits").load(0)
    assert final["test"][0].tobytes() == data.load("digits", 0).test[0].tobytes()
    seen = {x.tobytes() for name in PARTS for x in tuning[name][0]}
    assert not seen & {x.tobytes() for x in final["test"][0]}
    validation = {x.tobytes() for x in tuning["validation"][0]}
    assert not validation & {x.tobytes() for x in tuning["test"][0]}


def test_a_share_of_the_training_samples_and_a_longer_training():
    whole, half = problem("digits"), problem("digits:0.5@180")
    sizes = [len(each.load(0)["train"][1]) for each in (whole, half)]
    assert sizes[1] == round(sizes[0] / 2)
    assert (whole.epochs, half.epochs) == (60, 180)
    x, y = problem("digits~50").load(0)["validation"]
    assert len(x) == len(y) == 50


@pytest.mark.parametrize(
    ("encoder", "shape", "epochs"),
    [
        ("masked_bilstm", (8,), 20),
        ("transformer", (8,), 40),
        ("residual_1d", (8, 3), 60),
        ("residual_2d", (8, 8, 3), 20),
        ("vision_transformer", (8, 8, 3), 40),
    ],
)
def test_a_data_set_can_have_another_encoder(encoder, shape, epochs, monkeypatch):
    pair = np.ones((10, *shape)), np.arange(10) % 4
    made = data.Data("own", "mlp", 4, pair, pair, pair)
    monkeypatch.setattr(data, "load", lambda name, seed=0: made)
    own = problem(f"own/{encoder}")
    assert own.epochs == epochs
    model = own.build_fn()
    assert model.predict(pair[0], verbose=0).shape == (10, 4)
    assert keras_modals.augment(model).latent_augmentation.num_features == 64


def test_an_unknown_encoder():
    with pytest.raises(ValueError, match=r"Unknown encoder.*'mlp'.*forest"):
        problem("digits/forest")


def test_losses_for_rare_classes():
    outputs = np.array([[0.8, 0.2], [0.5, 0.5]], "float32")
    trained = []

    class Losses:
        labels, num_classes = np.repeat([0, 1], [9, 1]), 2

        def fit(self, model):
            trained.append(keras.ops.convert_to_numpy(model.loss([1, 0], outputs)))

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    IMBALANCE["focal loss"].train(Losses(), model, gamma=2.0)
    IMBALANCE["logit adjustment"].train(Losses(), model, power=1.0)
    focal, adjusted = trained
    wanted = [-(0.8**2) * np.log(0.2), -(0.5**2) * np.log(0.5)]
    np.testing.assert_allclose(focal, wanted, rtol=1e-5)
    # Products with the shares, 0.9 and 0.1, are divided by their sum.
    wanted = [-np.log(0.02 / (0.72 + 0.02)), -np.log(0.45 / (0.45 + 0.05))]
    np.testing.assert_allclose(adjusted, wanted, rtol=1e-5)


def test_a_threshold_is_tuned_on_validation_samples():
    # The rare class always has a probability below 1/2, and a higher one if correct.
    outputs = np.tile([[0.9, 0.1], [0.6, 0.4]], (20, 1))
    labels = np.tile([0, 1], 20)
    train = outputs[:20], np.repeat([0, 1], [18, 2])

    class Still(Trial):
        def fit(self, model, *data, **arguments):
            return model

    kind = kind_of(Classes(2), (None, 2))
    trial = Still(train, (outputs, labels), kind, 0, epochs=1, batch_size=20)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    tuned = IMBALANCE["tuned threshold"].train(trial, model)
    found = tuned.predict(outputs, verbose=0)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), labels)


def test_r_drop_is_that_of_its_paper(rng):
    x, y = rng.normal(size=(6, 4)), np.arange(6) % 3
    inputs = keras.Input((4,))
    model = RDrop(inputs, keras.layers.Dense(3, "softmax")(inputs))
    model.weight = 5.0
    model.compile("sgd", "sparse_categorical_crossentropy")
    first, other = rng.dirichlet(np.ones(3), 6), model.predict(x, verbose=0)
    loss = model.compute_loss(x.astype("float32"), y, first.astype("float32"))

    def entropy(p):
        return -np.log(p[np.arange(6), y]).mean()

    def divergence(p, q):
        return (p * np.log(p / q)).sum(-1).mean()

    both = divergence(first, other) + divergence(other, first)
    expected = entropy(first) + entropy(other) + 5.0 * both / 2
    np.testing.assert_allclose(2 * array(loss), expected, rtol=1e-4)
    loss = model.compute_loss(x, y, first.astype("float32"), training=False)
    np.testing.assert_allclose(array(loss), entropy(first), rtol=1e-4)


def test_each_setting_at_each_rate():
    seen = []

    def train(trial, model, alpha):
        seen.append((alpha, float(model.optimizer.learning_rate)))

    settings = ({"alpha": 1, "learning_rate": 1.0}, {"alpha": 1, "learning_rate": 2.0})
    method = at_rates(Method(train, (*settings, {"alpha": 2})), (1.0, 4.0))
    for setting in method.grid:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.5), "mse")
        method.train(None, model, **setting)
    assert seen == [(1, 0.5), (1, 2.0), (2, 0.5), (2, 2.0)]


def test_studies_know_their_data_and_methods():
    for study in STUDIES.values():
        names = {re.split("[/:+@~]", name)[0] for name in study.datasets}
        assert names <= set(data.LOADERS)
        assert "none" in study.methods


def test_report(tmp_path, capsys):
    file = RunFile(tmp_path / "runs.csv")
    scores = {
        "none": 0.5,
        "latent mixing": 0.6,
        "dropout(a=1)": 0.55,
        "dropout(a=2)": 0.4,
    }
    for seed, dataset in itertools.product(range(3), ("digits", "iris")):
        for method, score in scores.items():
            score += 0.01 * seed * (method == "latent mixing")
            score += 0.02 * (dataset == "iris") * (method == "latent mixing")
            values = {
                (split, metric): score if metric == "accuracy" else 1 - score
                for split in ("validation", "test")
                for metric in ("accuracy", *report.ALSO["accuracy"])
            }
            file.append(dataset, method, seed, values)
    report.print_report(file.path, "accuracy")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| method | mean | worst | without best | digits | iris |"
    assert lines[2] == "| none |  |  |  | 50.00 (n=3) | 50.00 (n=3) |"
    changes = "+12.00 (0.41)* | +11.0 | +11.00"
    of_each = "+11.00 (0.58)* | +13.00 (0.58)* |"
    assert lines[3] == f"| latent mixing | {changes} | {of_each}"
    others = "-0.12 (0.00)* | -12.00 (0.41)* | +7.00 (0.41)* |"
    row = f"| latent mixing | 3 | {changes} | {others}"
    assert row in lines
    # Validation chooses the best method, which is dropout among the others.
    assert row.replace("latent mixing", report.BEST) in lines
    (rival,) = [line for line in lines if line.startswith(f"| {report.RIVAL} | 3 |")]
    assert rival.startswith(f"| {report.RIVAL} | 3 | +5.00 (0.00)")


def test_few_labels_with_a_choice_by_validation(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    for dataset, gain in {"digits+50": 0.02, "trec6+150": -0.03}.items():
        scores = {"none": 0.5, "latent mixing": 0.51, report.CONSISTENT: 0.5 + gain}
        for seed, (method, score) in itertools.product(range(2), scores.items()):
            values = {("validation", "accuracy"): score}
            values["test", "accuracy"] = 2 * score
            file.append(dataset, method, seed, values)
    means = report.few_labels(file.path).mean_changes()
    assert means.loc[report.CONSISTENT, "change"] == pytest.approx(-1.0)
    assert means.loc[report.CHOSEN, "change"] == pytest.approx(3.0)
    assert means.loc[report.CHOSEN, "worst"] == pytest.approx(2.0)


def test_curves_have_an_axis_for_each_data_set_and_a_point_for_each_size(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    methods = ["none", "latent mixing", report.CONSISTENT, "all labels"]
    for name, sizes in studies.LABEL_CURVES.items():
        for size, method in itertools.product(sizes, methods):
            for seed in range(2):
                values = {("validation", "accuracy"): 0.5}
                values["test", "accuracy"] = size / 2000 + methods.index(method) / 10
                file.append(f"{name}+{size}", method, seed, values)
    axes = report.plot_label_curves(file.path)
    assert [ax.get_title() for ax in axes.flat] == list(studies.LABEL_CURVES)
    for container in axes.flat[0].containers:
        line = container.lines[0]
        start = 10 * methods.index(container.get_label())
        assert line.get_xdata().tolist() == [50, 100, 200, 500, 1000]
        means = np.asarray(line.get_ydata(), float)
        np.testing.assert_allclose(means - start, [2.5, 5, 10, 25, 50])


def test_a_choice_by_more_validation_samples(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    scores = {"none": 0.5, "mixup": 0.52, "latent mixing": 0.53}
    for dataset in studies.STUDIES["choosing"].datasets:
        few = dataset.endswith("~50")
        for seed, (method, score) in itertools.product(range(2), scores.items()):
            # With few validation samples, the worst method is chosen.
            values = {("validation", "accuracy"): -score if few else score}
            values["test", "accuracy"] = score
            file.append(dataset, method, seed, values)
    head, _, *rows = report.choosing(file.path).splitlines()
    assert head == "| chosen among | 50 samples | 100 samples | 300 samples |"
    changes = [re.findall(r"[+-]\d\.\d\d", row) for row in rows]
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {name}" for name in (report.RIVAL, report.BEST_OF_OURS, report.BEST)
    ]
    gains = ["+2.00", "+3.00", "+3.00"]
    assert changes == [["+0.00", gain, gain] for gain in gains]


def test_encoders_have_a_table_for_each_kind_of_data(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    scores = {"none": 0.5, "mixup": 0.52, "latent mixing": 0.53}
    for names in studies.OF_ENCODERS.values():
        for name, seed, method in itertools.product(names, range(2), scores):
            values = {("validation", "accuracy"): scores[method]}
            values["test", "accuracy"] = scores[method]
            file.append(name, method, seed, values)
    titles, tables = zip(*report.encoders(file.path))
    assert titles == tuple(studies.OF_ENCODERS)
    for table, names in zip(tables, studies.OF_ENCODERS.values()):
        head, _, _, best, _ = table.splitlines()
        assert head.endswith(f"| {' | '.join(names)} |")
        assert best.startswith("| latent mixing | +3.00 (0.00)")


def test_other_targets_have_their_own_metrics(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    scores = {"none": 0.5, "mixup(a=1)": 0.52, "mixup(a=2)": 0.4, "latent mixing": 0.53}
    for metric, names in studies.OTHER_TARGETS.values():
        for seed, (method, score) in itertools.product(range(2), scores.items()):
            # The best method on validation samples is not the best on test samples.
            values = {("validation", metric): score, ("test", metric): 1 - score}
            file.append(names[-1], method, seed, values)
    titles, metrics, tables = zip(*report.other_targets(file.path))
    assert titles == tuple(studies.OTHER_TARGETS)
    assert metrics == ("r2", "average_precision", "macro_f1", "mean_iou")
    for table, (_, names) in zip(tables, studies.OTHER_TARGETS.values()):
        lines = table.splitlines()
        assert lines[0] == f"| method | mean | worst | without best | {names[-1]} |"
        rows = {line.split(" | ")[0]: line for line in lines[2:]}
        assert next(iter(rows)) == "| none"
        for name, change in {
            "mixup": "-2.00",
            "latent mixing": "-3.00",
            report.RIVAL: "-2.00",
            report.BEST: "-3.00",
        }.items():
            assert rows[f"| {name}"].split(" | ")[1].startswith(change), name


def test_classifiers_that_are_no_networks(tmp_path):
    names = ["logistic regression", "random forest"]
    wanted = {name: context.CLASSIFIERS[name] for name in names}
    rows = [row for seed in (0, 1) for row in context.rows_of("iris", seed, wanted)]
    parts = problem("iris").load(1)
    (x, y), (x_valid, y_valid), (x_test, y_test) = (parts[part] for part in PARTS)
    fitted = [
        context.logistic_regression(1, penalty).fit(x, y)
        for penalty in (0.1, 1.0, 10.0, 100.0)
    ]
    # Ties go to the first.
    best = max(fitted, key=lambda classifier: classifier.score(x_valid, y_valid))
    row = rows[2]
    assert (row["method"], row["seed"]) == ("logistic regression", 1)
    assert row["setting"] == f"penalty={1 / best.C}"
    assert row["validation_accuracy"] == best.score(x_valid, y_valid)
    assert row["test_accuracy"] == best.score(x_test, y_test)
    of_truth = best.predict_proba(x_test)[np.arange(len(y_test)), y_test]
    assert row["test_log_loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)

    path = tmp_path / "context.csv"
    stored.add(path, pd.DataFrame(rows))
    file = RunFile(tmp_path / "networks.csv")
    means = {"none": 0.991, "mixup": 0.99, "latent mixing": 0.992}
    for seed, (method, score) in itertools.product(range(3), means.items()):
        # Only common seeds count.
        score = 0.5 if seed == 2 else score
        values = {("validation", "accuracy"): score, ("test", "accuracy"): score}
        file.append("iris", method, seed, values)
    head, _, line = report.context(path, report.read(file.path)).splitlines()
    assert head == f"| data set | none | {report.BEST} | {' | '.join(names)} |"
    means = [np.mean([r["test_accuracy"] for r in rows[i::2]]) for i in (0, 1)]
    cells = [f"{100 * mean:.1f}" for mean in means]
    assert line == f"| iris | 99.1 | **99.2** | {' | '.join(cells)} |"


def test_results_say_what_the_raw_runs_say(tmp_path):
    raw, path = RunFile(tmp_path / "raw.csv"), tmp_path / "results.csv"
    scores = {"none": 0.5, "mixup(a=1)": 0.6, "mixup(a=2)": 0.55}
    for seed, (method, score) in itertools.product(range(3), scores.items()):
        # The second seed chooses the other setting.
        score = 1 - score if seed == 1 else score
        values = {("validation", "accuracy"): score, ("test", "accuracy"): 0.9 * score}
        values |= {("train", "seconds"): 2.0, ("train", "settings"): 7.0}
        raw.append("digits", method, seed, values)
    comparison = Comparison(raw.read(), "accuracy")
    by = dict.fromkeys(stored.ABOUT, "1")
    table = stored.chosen(comparison).assign(**by)
    stored.add(path, table[table["seed"] > 0])
    pairs = itertools.product(("none", "mixup"), (1, 2))
    assert stored.finished(path) == {("digits", *pair) for pair in pairs}
    stored.add(path, table)
    lines = path.read_text().splitlines()
    assert lines[0] == (
        "dataset,method,seed,setting,version,commit,machine,backend,seconds,"
        "test_accuracy,validation_accuracy"
    )
    assert lines[2] == "digits,mixup,1,a=2,1,1,1,1,4.0,0.405,0.45"
    assert len(lines) == 7
    found = stored.read(path, "accuracy")
    columns = ["runs", "mean", "spread", "change", "standard_error", "setting"]
    expected = comparison.summary()[columns]
    pd.testing.assert_frame_equal(
        found.summary()[columns].loc[expected.index], expected, rtol=1e-4
    )
    choice = found.with_choice("best", ["none", "mixup"]).summary()
    assert choice.loc[("digits", "best"), "runs"] == 3


#: All result files, except the raw numbers of one study, which chose no method.
FILES = sorted(set(RESULTS.rglob("*.csv")) - {RESULTS / "why.csv"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_results_have_a_row_for_each_run(path):
    table = pd.read_csv(path)
    assert tuple(table.columns[: len(stored.COLUMNS)]) == stored.COLUMNS
    assert not table.duplicated(list(stored.KEYS)).any()
    scores = table.columns[len(stored.COLUMNS) :]
    np.testing.assert_array_equal(
        table[scores].notna().any(axis=1), table["seconds"].notna()
    )
    assert all(name.startswith(("test_", "validation_")) for name in scores)
    assert all(table[name].dtype.kind in "fi" for name in scores)


def test_complete_drops_rare_methods_then_data_sets_with_gaps():
    file = RunFile()
    for index in range(10):
        methods = ["none", "m"] if index else ["none", "rare"]
        for method, seed in itertools.product(methods, range(2)):
            values = {(split, "accuracy"): 0.5 for split in ("validation", "test")}
            file.append(f"d{index}", method, seed, values)
    file.append("one seed", "none", 0, values)
    kept = report.complete(Comparison(file.read())).runs
    assert set(kept["method"]) == {"none", "m"}
    assert set(kept["dataset"]) == {f"d{index}" for index in range(1, 10)}


def test_methods_next_to_one_have_its_data_sets_and_seeds(tmp_path):
    file = RunFile(tmp_path / "runs.csv")
    ran = {"none": 4, "mixup": 4, "latent mixing": 4, "MODALS": 3, "few": 2}
    for dataset, (method, seeds) in itertools.product("ab", ran.items()):
        for seed in range(seeds):
            if (dataset, method) == ("b", "MODALS"):
                continue
            # Best where it must not count.
            score = {3: 0.9}.get(seed, 0.6 if method == "latent mixing" else 0.5)
            values = {(split, "accuracy"): score for split in ("validation", "test")}
            file.append(dataset, method, seed, values)
    means = report.next_to(file.path, "MODALS").mean_changes()
    assert set(means["runs"]) == {3}
    changes = dict.fromkeys(("mixup", "MODALS", report.RIVAL), 0.0)
    changes |= dict.fromkeys(("latent mixing", report.BEST), 10.0)
    assert means["change"].to_dict() == pytest.approx(changes)


def test_what_a_file_of_results_has_is_not_run_again(tmp_path, monkeypatch):
    calls = []
    train = METHODS["none"].train

    def counted(trial, model):
        calls.append(trial.seed)
        return train(trial, model)

    methods = {"none": Method(counted), "C-Mixup": METHODS["C-Mixup"]}
    study = studies.Study(methods, ("iris",), "accuracy", False)
    monkeypatch.setitem(STUDIES, "own", study)
    monkeypatch.setattr(run, "run_apart", lambda tasks, _: map(run.run_one, tasks))
    # The last call runs only a method that does not apply.
    for names, seeds in ((methods, 1), (methods, 2), (methods, 2), (["C-Mixup"], 3)):
        run.run_all(
            "own",
            ["iris@2"],
            list(names),
            range(seeds),
            1,
            tmp_path / "raw.csv",
            tmp_path / "results.csv",
        )
    assert calls == [0, 1]
    table = pd.read_csv(tmp_path / "results.csv")
    # A method for regression has no classification scores.
    assert table["method"].tolist() == ["C-Mixup"] * 3 + ["none"] * 2
    assert table["test_accuracy"].isna().tolist() == [True] * 3 + [False] * 2
    assert table["commit"].notna().all()
    assert stored.read(tmp_path / "results.csv").summary().index.tolist() == [
        ("iris@2", "none")
    ]


def test_the_readme_says_what_the_results_say():
    text = README.read_text()
    assert readme.with_results(text) == text
    for stale in (
        re.sub(r"^- \*\*Classes.*\n", "", text, flags=re.MULTILINE),
        re.sub(r"(macro F1\):) \S+", r"\1 +9.9", text),
    ):
        assert readme.with_results(stale) == text != stale
