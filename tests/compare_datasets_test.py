"""Tests `compare` with data that yields samples in batches."""

import keras
import numpy as np
import pandas as pd
import pytest
from compare_jobs_test import build, numbers
from portable import tensorflow_only
from problems import FEATURES, NUM_CLASSES, compile_, make_data

import keras_modals
from keras_modals.evaluation import METHODS

FAST = {"epochs": 2, "batch_size": 20, "verbose": 0}
NAMES = ["none", "label smoothing", "latent mixing", "class weights"]
#: Methods that train on their own arrays.
NEED_ARRAYS = ["input noise", "oversampling", "SMOTE"]


class Batches(keras.utils.PyDataset):
    """Yields batches of arrays, in their order."""

    def __init__(self, x, y, size=20):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return -(-len(self.y) // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return self.x[rows], self.y[rows]


def tf_dataset(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(20)


def torch_pairs(x, y):
    torch = pytest.importorskip("torch")
    return torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))


def loader(x, y):
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(torch_pairs(x, y), batch_size=20)


#: PyTorch is not installed everywhere that TensorFlow is.
LOADER = pytest.param(loader, marks=[pytest.mark.backend, pytest.mark.slow])

PARTS = {"train": slice(0, 100), "validation": slice(100, 140), "test": slice(140, 185)}


@pytest.mark.parametrize("make", [Batches, tf_dataset, LOADER])
def test_a_dataset_has_the_numbers_of_its_arrays(make, rng):
    x, y = make_data(rng, 185)
    arrays = {part: (x[rows], y[rows]) for part, rows in PARTS.items()}
    datasets = {part: make(*pair) for part, pair in arrays.items()}
    methods = [name for name in NAMES if make is not loader or "weights" not in name]
    needs = [*NEED_ARRAYS, *(name for name in NAMES if name not in methods)]
    expected, found = (
        # Without shuffling, batches of arrays are in their order, too.
        keras_modals.compare(build, data, names, 1, shuffle=False, **FAST)
        for data, names in ((arrays, methods), (datasets, [*methods, *needs]))
    )
    assert set(found.skipped) == set(needs)
    assert "input noise: not applicable, needs arrays, not a dataset" in str(found)
    assert found.summary().loc["data"].index.tolist() == methods
    found, expected = numbers(found), numbers(expected)
    found = found.drop(["test_samples", "settings"], level="metric")
    np.testing.assert_allclose(found, expected[found.index], rtol=2e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_a_dataset_that_does_not_say_its_length(rng):
    x, y = make_data(rng, 185)
    data = {
        part: tf_dataset(x[rows], y[rows]).filter(lambda x, y: True)
        for part, rows in PARTS.items()
    }
    result = keras_modals.compare(build, data, NAMES, 1, **FAST)
    assert list(result.skipped) == ["label smoothing"]
    assert "of known length" in result.skipped["label smoothing"]
    ratio = result.runs.query("metric == 'test_to_train'").value.unique()
    np.testing.assert_allclose(ratio, 45 / 100)


def test_seeds_know_the_same_test_samples_in_any_order(rng):
    x, y = make_data(rng, 185)

    def load(seed):
        rows = np.random.default_rng(seed).permutation(45) + 140
        data = {part: Batches(x[rows], y[rows]) for part, rows in PARTS.items()}
        return {**data, "test": Batches(x[rows], y[rows])}

    result = keras_modals.compare(build, load, ["none"], 2, **FAST)
    assert result.runs.query("metric == 'test_samples'").value.nunique() == 1

    def other(seed):
        return {**load(seed), "test": Batches(x[140 + seed :], y[140 + seed :])}

    result = keras_modals.compare(build, other, ["none"], 2, **FAST)
    assert result.runs.query("metric == 'test_samples'").value.nunique() == 2


@pytest.mark.parametrize("make", [Batches, LOADER])
def test_a_dataset_is_split_by_index(make, rng):
    y = np.repeat(np.arange(NUM_CLASSES), [100, 60, 40])
    # Identify samples by number.
    x = np.arange(200.0)[:, None] * np.ones(FEATURES, "float32")
    order = rng.permutation(200)
    x, y = x[order].astype("float32"), y[order]
    seen = []

    def look(trial, model):
        parts = trial.train, trial.validation
        seen.append(
            [
                [
                    np.concatenate([np.asarray(each[i]) for each in part])
                    for i in range(2)
                ]
                for part in parts
            ]
        )
        return model

    data = make(x, y) if make is loader else make(x, y, 10)
    result = keras_modals.compare(build, data, {"look": look}, 2, **FAST)
    assert result.skipped == {}
    for train, validation in seen:
        rows = [set(part[0][:, 0].astype(int)) for part in (train, validation)]
        assert not rows[0] & rows[1]
        assert [len(part) for part in rows] == [120, 40]
        for inputs, targets in (train, validation):
            np.testing.assert_array_equal(
                targets, y[np.argsort(order)[inputs[:, 0].astype(int)]]
            )
        if make is loader:
            assert np.bincount(train[1]).tolist() == [60, 36, 24]
    assert seen[0][0][0].tolist() != seen[1][0][0].tolist()


@pytest.mark.backend
def test_a_split_dataset_keeps_the_shuffling_of_its_loader(rng):
    torch = pytest.importorskip("torch")
    pairs = torch_pairs(*make_data(rng, 100))
    orders = []

    def look(trial, model):
        for part in (trial.train, trial.train, trial.validation, trial.validation):
            orders.append([tuple(np.asarray(each[0])[:, 0]) for each in part])
        return model

    data = torch.utils.data.DataLoader(pairs, batch_size=10, shuffle=True)
    keras_modals.compare(build, data, {"look": look}, 1, **FAST)
    assert orders[0] != orders[1]
    assert orders[2] == orders[3]


def test_what_cannot_be_split_is_refused(rng):
    data = tf_dataset(*make_data(rng, 60))
    with pytest.raises(ValueError, match="`skip` before it is shuffled"):
        keras_modals.compare(build, data, **FAST)


@tensorflow_only
def test_strings_and_ragged_sequences_of_tensorflow(rng):
    import tensorflow as tf

    words = np.array(["one", "two", "three"])
    y = np.arange(90) % 3

    def build_strings():
        inputs = keras.Input((), dtype="string")
        lookup = keras.layers.StringLookup(vocabulary=words.tolist())
        hidden = keras.layers.Embedding(4, 8)(lookup(inputs))
        outputs = keras.layers.Dense(3, "softmax")(hidden)
        return compile_(keras.Model(inputs, outputs), keras.optimizers.Adam(0.1))

    def build_ragged():
        inputs = keras.Input((None,), dtype="int32")
        hidden = keras.layers.Embedding(9, 8, mask_zero=True)(inputs)
        hidden = keras.layers.GlobalAveragePooling1D()(hidden)
        outputs = keras.layers.Dense(3, "softmax")(hidden)
        return compile_(keras.Model(inputs, outputs), keras.optimizers.Adam(0.1))

    rows = [[label + 1] * length for label, length in zip(y, rng.integers(1, 6, 90))]
    ragged = tf.ragged.constant(rows, dtype="int32")
    ragged = tf.data.Dataset.from_tensor_slices((ragged, y)).batch(15)
    ragged = ragged.map(lambda x, y: (x.to_tensor(), y))
    strings = tf.data.Dataset.from_tensor_slices((words[y], y)).batch(15)
    for make, data in ((build_strings, strings), (build_ragged, ragged)):
        parts = {"train": data.skip(2), "validation": data.take(1), "test": data}
        result = keras_modals.compare(
            make, parts, ["none", "mixup", "latent mixing"], 1, **{**FAST, "epochs": 6}
        )
        assert result.skipped == {}
        assert result.summary()["mean"].min() > 90


def test_processes_are_given_functions_that_make_datasets(rng):
    x, y = make_data(rng, 185)
    arrays = {part: (x[rows], y[rows]) for part, rows in PARTS.items()}

    def load(seed):
        return {part: tf_dataset(*pair) for part, pair in arrays.items()}

    one, two = (
        keras_modals.compare(build, load, ["none"], 2, n_jobs=n_jobs, **FAST)
        for n_jobs in (1, 2)
    )
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=1e-5)
    with pytest.raises(ValueError, match="Create datasets, models and callbacks"):
        keras_modals.compare(build, load(0), ["none"], 2, n_jobs=2, **FAST)


# Tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "series", "parts", "function"])
def test_names_of_classes_are_numbered_in_their_order(kind, rng):
    x, y = make_data(rng, 90)
    x = pd.DataFrame(x, columns=[f"column {i}" for i in range(FEATURES)])
    names = np.array(["sick", "healthy", "unknown"])[y]
    # Follow the alphabetical order of the names.
    codes = np.array([1, 0, 2])[y]
    given = {"array": names, "series": pd.Series(names), "parts": names.astype(object)}
    given["function"] = given["parts"]
    data, expected = (x, given[kind]), (x, codes)
    if kind in ("parts", "function"):
        data, expected = (
            {part: (x[rows], labels[rows]) for part, rows in ROWS.items()}
            for labels in (given[kind], codes)
        )
    if kind == "function":
        parts, codes_of = data, expected
        data, expected = lambda seed: parts, lambda seed: codes_of
    methods = ["none", "latent mixing"]
    found, coded = (
        keras_modals.compare(build, each, methods, 1, **FAST)
        for each in (data, expected)
    )
    assert found.class_names == ["healthy", "sick", "unknown"]
    assert coded.class_names is None
    found, coded = (each.runs.query("split == 'test'") for each in (found, coded))
    np.testing.assert_array_equal(found["value"], coded["value"])


def test_all_seeds_must_have_the_same_names_of_classes(rng):
    x, y = make_data(rng, 90)

    def load(seed):
        names = np.array(["sick", "healthy", "unknown" if seed else "other"])[y]
        return {part: (x[rows], names[rows]) for part, rows in ROWS.items()}

    with pytest.raises(ValueError, match="'unknown', which the first seed lacks"):
        keras_modals.compare(build, load, ["none"], 2, **FAST)


ROWS = {"train": slice(0, 50), "validation": slice(50, 70), "test": slice(70, 90)}


def test_a_table_with_words_says_what_to_write(rng):
    x = pd.DataFrame(make_data(rng, 90)[0]).assign(town="here")
    with pytest.raises(ValueError, match=r"`pd.get_dummies\(x\)\.a.* pass `dict\(x\)`"):
        keras_modals.compare(build, (x, np.arange(90) % 3), ["none"], 1, **FAST)


def test_columns_of_a_table_are_inputs(rng):
    x = pd.DataFrame({"a": rng.normal(size=90), "b": rng.integers(0, 5, 90)})

    def build_columns():
        inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
        hidden = keras.layers.Concatenate()(list(inputs.values()))
        hidden = keras.layers.Dense(4, "relu")(hidden)
        outputs = keras.layers.Dense(3, "softmax")(hidden)
        return compile_(keras.Model(inputs, outputs))

    data = dict(x), pd.Series(np.arange(90) % 3)
    methods = ["none", "mixup", "latent mixing"]
    result = keras_modals.compare(build_columns, data, methods, 1, **FAST)
    assert result.skipped == {}


# Several outputs ---------------------------------------------------------------------


def build_two(run_eagerly=True):
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(16, "relu")(inputs)
    size = keras.layers.Dense(1, name="size")(hidden)
    kind = keras.layers.Dense(NUM_CLASSES, "softmax", name="kind")(hidden)
    model = keras.Model(inputs, {"size": size, "kind": kind})
    model.compile(
        "adam",
        loss={"size": "mse", "kind": "sparse_categorical_crossentropy"},
        metrics={"kind": ["accuracy"]},
        run_eagerly=run_eagerly,
    )
    return model


@pytest.mark.parametrize("make", [None, tf_dataset])
def test_one_of_several_outputs_is_compared(make, rng):
    x, y = make_data(rng, 185)
    targets = {"size": x[:, :1], "kind": y}
    methods = ["none", "latent mixing", "mixup", "label smoothing", "class weights"]
    data = {
        part: (x[rows], {name: each[rows] for name, each in targets.items()})
        for part, rows in PARTS.items()
    }
    if make:
        data = {part: make(*pair) for part, pair in data.items()}
    models = []

    def keep(trial, model):
        models.append(METHODS["none"].train(trial, model))
        return models[-1]

    methods = {"keep": keep, **{name: METHODS[name] for name in methods}}
    result = keras_modals.compare(
        build_two, data, methods, 1, label_output="kind", **{**FAST, "epochs": 5}
    )
    assert set(result.skipped) == {"label smoothing", "class weights"}
    assert "needs a model with one output" in result.skipped["class weights"]
    outputs = models[0].predict(x[140:], verbose=0)
    score = result.runs.query("method == 'keep' and split == 'test'")
    score = score.set_index("metric")["value"]["accuracy"]
    right = np.mean(outputs["kind"].argmax(-1) == y[140:])
    # Scores have the precision of a file.
    assert score == pytest.approx(right, abs=1e-6)
    numbers_of = keras_modals.compare(
        build_two, data, ["none"], 1, label_output="size", **FAST
    )
    assert numbers_of.metric == "r2"


def test_outputs_are_asked_for_by_name(rng):
    x, y = make_data(rng, 60)
    data = x, {"size": x[:, :1], "kind": y}
    with pytest.raises(ValueError, match=r"with `label_output`.*\['size', 'kind'\]"):
        keras_modals.compare(build_two, data, **FAST)
    with pytest.raises(ValueError, match=r"\['size', 'kind'\].*label_output='colour'"):
        keras_modals.compare(build_two, data, label_output="colour", **FAST)
    # Classes are split in proportion.
    result = keras_modals.compare(
        build_two, data, ["none"], 1, label_output="kind", **FAST
    )
    assert result.metric == "accuracy"


# Silent errors ------------------------------------------------------------------------


def test_all_methods_of_a_seed_have_the_same_test_samples(rng, tmp_path):
    x, y = make_data(rng, 185)
    draws = iter(range(99))

    def load(seed):
        first = next(draws) // 2
        data = {part: (x[rows], y[rows]) for part, rows in PARTS.items()}
        return {**data, "test": Batches(x[100 + first :], y[100 + first :])}

    arguments = {**FAST, "path": tmp_path / "runs.csv"}
    methods = {"a": lambda trial, model: model, "b": lambda trial, model: model}
    with pytest.raises(ValueError, match="other test samples with seed 0"):
        keras_modals.compare(build, load, methods, 1, **arguments)
    # A file identifies the test samples of its runs.
    draws = iter(range(10, 99))
    with pytest.raises(ValueError, match="other test samples with seed 0"):
        keras_modals.compare(build, load, methods, 1, **arguments)


def test_a_function_that_draws_from_the_global_seed_has_one_split(rng):
    x, y = make_data(rng, 185)

    def load(seed):
        rows = np.random.permutation(185)  # noqa: NPY002, as users write it
        parts = {part: rows[chosen] for part, chosen in PARTS.items()}
        return {part: Batches(x[rows], y[rows]) for part, rows in parts.items()}

    result = keras_modals.compare(build, load, NAMES, 2, **FAST)
    assert result.skipped == {}
    tests = result.runs.query("metric == 'test_samples'")
    assert tests.groupby("seed").value.nunique().tolist() == [1, 1]


@pytest.mark.backend
@pytest.mark.slow
def test_the_order_of_methods_changes_no_number(rng):
    """The shuffling of a loader restarts with each training."""
    torch = pytest.importorskip("torch")
    pairs = torch_pairs(*make_data(rng, 120))

    def run(methods, **arguments):
        data = torch.utils.data.DataLoader(pairs, batch_size=10, shuffle=True)
        arguments = {**FAST, **arguments}
        result = keras_modals.compare(build, data, methods, 1, **arguments)
        return result.runs.set_index(["method", "split", "metric"])["value"]

    def other(trial, model):
        return METHODS["none"].train(trial, model)

    found = run(["none"], verbose=2)["none", "test", "log_loss"]
    again = run({"first": other, "none": METHODS["none"]})
    assert again["none", "test", "log_loss"] == found
    assert again["first", "test", "log_loss"] == found


class Shuffled(Batches):
    """Yields batches in an order that changes after each epoch."""

    def __init__(self, x, y):
        super().__init__(x, y)
        self.rng, self.order = np.random.default_rng(0), np.arange(len(x))

    def __getitem__(self, index):
        rows = self.order[index * self.size : (index + 1) * self.size]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


def shuffled_tf_dataset(x, y):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    return dataset.shuffle(100, seed=0).batch(20)


def shuffled_loader(x, y):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    return torch.utils.data.DataLoader(
        torch_pairs(x, y), batch_size=20, shuffle=True, generator=generator
    )


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.parametrize("is_function", [False, True])
@pytest.mark.parametrize("make", [Shuffled, shuffled_loader, shuffled_tf_dataset])
def test_what_is_shown_changes_no_number(make, is_function, rng, capsys):
    """Estimates of the training time come from trainings, which consume samples."""
    if make is shuffled_tf_dataset:
        pytest.importorskip("tensorflow")
    x, y = make_data(rng, 185)
    arrays = {part: (x[rows], y[rows]) for part, rows in PARTS.items()}

    def run(verbose):
        def data(seed):
            return {**arrays, "train": make(*arrays["train"])}

        # TensorFlow's shuffling depends on the global seed.
        keras.utils.set_random_seed(0)
        arguments = {**FAST, "verbose": verbose}
        shared = data if is_function else data(0)
        result = keras_modals.compare(
            build, shared, ["label smoothing"], 1, **arguments
        )
        return result.runs[result.runs["metric"] != "seconds"]["value"].tolist()

    assert run(2) == run(0)
    first = capsys.readouterr().out.splitlines()[0]
    assert (", about " in first) == is_function


@pytest.mark.backend
@pytest.mark.parametrize("kind", ["subset", "weighted", "batches", "stream"])
def test_a_sampler_is_not_lost_in_silence(kind, rng):
    torch_data = pytest.importorskip("torch.utils.data")
    pairs = torch_pairs(*make_data(rng, 120))

    class Stream(torch_data.IterableDataset):
        def __iter__(self):
            return iter(pairs)

    arguments = {
        "subset": {"sampler": torch_data.SubsetRandomSampler(range(30))},
        "weighted": {"sampler": torch_data.WeightedRandomSampler([1.0] * 120, 120)},
        "batches": {
            "batch_sampler": torch_data.BatchSampler(
                torch_data.SequentialSampler(pairs), 10, False
            )
        },
        "stream": {},
    }[kind]
    data = torch_data.DataLoader(Stream() if kind == "stream" else pairs, **arguments)
    if kind == "batches":
        # The batch sampler is the kind that a batch size creates.
        assert data.batch_size is None
    with pytest.raises(ValueError, match="without a custom sampler"):
        keras_modals.compare(build, data, **FAST)


class Endless(Batches):
    def __len__(self):
        return None

    num_batches = None


def test_refuses_datasets_that_cannot_be_compared(rng):
    x, y = make_data(rng, 60)
    batches = Batches(x, y)
    parts = dict.fromkeys(PARTS, batches)
    for change, message in (
        ({"train": Endless(x, y)}, "finite datasets.*'train'"),
        ({"test": tf_dataset(x, y).repeat()}, "finite datasets.*'test'"),
        ({"test": tf_dataset(x, y).map(lambda x, y: x)}, "batches `.x, y.`"),
        ({"unlabeled": batches}, "are those of 'validation'"),
    ):
        with pytest.raises(ValueError, match=message):
            keras_modals.compare(build, {**parts, **change}, ["none"], 1, **FAST)
    with pytest.raises(ValueError, match=r"None of \d+ batches would be left"):
        keras_modals.compare(
            build, Batches(x, y, 15), ["none"], 1, splits=(0.5, 0.45), **FAST
        )


def test_a_file_tells_datasets_and_weights_apart(rng, tmp_path):
    x, y = make_data(rng, 100)
    arguments = {**FAST, "path": tmp_path / "runs.csv"}
    parts = dict.fromkeys(PARTS, Batches(x, y))
    keras_modals.compare(build, parts, ["none"], 1, **arguments)
    other = {**parts, "train": Batches(x[:60], y[:60])}
    with pytest.raises(ValueError, match="other settings"):
        keras_modals.compare(build, other, ["none"], 1, **arguments)
    arguments["dataset"] = "weighted"
    keras_modals.compare(
        build, parts, ["none"], 1, class_weight={0: np.int64(1)}, **arguments
    )
    with pytest.raises(ValueError, match="other settings"):
        keras_modals.compare(
            build, parts, ["none"], 1, class_weight={0: np.int64(5)}, **arguments
        )


def test_names_in_one_part_and_numbers_in_another_are_refused(rng):
    x, y = make_data(rng, 90)
    data = {part: (x[rows], y[rows]) for part, rows in ROWS.items()}
    data["train"] = data["train"][0], np.array(["a", "b", "c"])[data["train"][1]]
    with pytest.raises(ValueError, match="Labels must be numbers"):
        keras_modals.compare(build, data, ["none"], 1, **FAST)
