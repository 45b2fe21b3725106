"""Regression: real-valued targets, mixed as numbers."""

import keras
import numpy as np
import pytest
from portable import BACKEND, array, tensor

import keras_modals
from keras_modals import LatentAugmentation, ModalsModel, Policy, Values
from keras_modals._src.layers.partners import draw_partners
from keras_modals._src.memory.stream_quantiles import StreamQuantiles
from keras_modals.operations import ClassMixing

pytestmark = pytest.mark.backend

L = keras.layers
FEATURES, ROWS = 6, 24

#: On TensorFlow, building the graph of a step would take most of a test's time.
EAGER = {"run_eagerly": BACKEND == "tensorflow"}

STILL = Policy({"class_mixing": (0.0, 0.0)})
#: A policy that mixes every row.
MIXING = Policy({"class_mixing": (1.0, 0.8)})


def plain_model(columns=1, loss="mse"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            L.Dense(8, "tanh"),
            L.Dense(5, "tanh"),
            L.Dense(columns, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=["mae"], **EAGER)
    return model


def data(rng, columns=1):
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    return x, (x[:, :columns] + 0.3 * rng.normal(size=(ROWS, columns))).astype(
        "float32"
    )


def log_cosh_of_my_own(y_true, y_pred):
    return keras.ops.mean(keras.ops.logaddexp(y_true - y_pred, y_pred - y_true), -1)


# Mixing ---------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("form", ["column", "flat", "integers", "columns", "series"])
def test_targets_are_mixed_as_the_latents_are(form, views, rng):
    columns = 3 if form == "columns" else 1
    x, y = data(rng, columns)
    if form == "series":
        inputs = keras.Input((FEATURES,))
        hidden = L.Dense(8, "tanh")(inputs)
        model = keras.Model(inputs, L.Reshape((4, 2))(L.Dense(8)(hidden)))
        model.compile("sgd", "mse")
        y = rng.normal(size=(ROWS, 4, 2)).astype("float32")
        arguments = {"labels": Values(), "layer": 1}
    else:
        model, arguments = plain_model(columns), {}
    if form == "integers":
        y = np.round(10 * y[:, 0]).astype("int64")
    elif form == "flat":
        y = y[:, 0]
    model = keras_modals.augment(
        model, policy=MIXING, num_views=views, seed=0, warmup_steps=0, **arguments
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", **EAGER)
    # Keras does not accept weights of rank 1 for a loss of rank 2.
    shape = (ROWS, 1) if form == "series" else ROWS
    weights = rng.uniform(0.5, 2.0, shape).astype("float32")
    for sample_weight in (None, weights):
        # The step and the call below have the same draws.
        state = [array(seed) for seed in seeds(model)]
        logs = model.train_on_batch(x, y, sample_weight=sample_weight)
        for seed, value in zip(seeds(model), state, strict=True):
            seed.assign(value)
        with model.step_scope(Values().read(y)[0]) as scope:
            outputs = array(model(x, training=True)).astype("float64")
        assert np.mean(array(scope.rows.share) > 0) > 0.4
        targets = mixed_rows(y, scope.rows).reshape(outputs.shape)
        errors = ((targets - outputs) ** 2).mean(axis=-1)
        if sample_weight is not None:
            factors = mixed_rows(sample_weight, scope.rows)
            errors = errors * factors
        loss = logs if np.ndim(logs) == 0 else logs[0]
        np.testing.assert_allclose(float(loss), errors.mean(), rtol=2e-5)


def mixed_rows(values, rows):
    """Returns the values of samples, mixed for each row as in the step."""
    values = values.astype("float64")
    partner, share = array(rows.partner), array(rows.share)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    own = values[np.arange(len(share)) % ROWS]
    return own + share * (values[partner] - own)


def seeds(model):
    return [layer.seed_generator.state for layer in model.latent_augmentations]


def test_by_hand(rng):
    x, y = data(rng, 2)
    layer = LatentAugmentation(labels=Values(), policy=MIXING, seed=0)
    moved = layer({"latents": x, "labels": y}, training=True)
    latents, labels = array(moved["latents"]), array(moved["labels"])
    changed = np.any(latents != x, axis=1)
    assert changed.mean() > 0.5
    for row in np.flatnonzero(changed):
        # The partner that explains the latent also explains the target.
        shares = [
            np.linalg.lstsq((p - x[row])[:, None], latents[row] - x[row], rcond=None)
            for p in x
        ]
        errors = [s[1].item() if len(s[1]) else np.inf for s in shares]
        partner = int(np.argmin(errors))
        share = shares[partner][0].item()
        expected = y[row] + share * (y[partner] - y[row])
        np.testing.assert_allclose(labels[row], expected, rtol=1e-3, atol=1e-4)


# As in Keras ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "views", "weighted"),
    [
        ("mse", 1, True),
        ("mse", 2, False),
        ("mae", 2, True),
        (keras.losses.Huber(delta=0.5), 1, False),
        (keras.losses.LogCosh(), 2, True),
        (keras.losses.MeanSquaredError(reduction="sum"), 1, True),
    ],
    ids=["mse_weighted", "mse_views", "mae", "huber", "log_cosh", "sum"],
)
def test_a_policy_that_moves_nothing_changes_no_number(loss, views, weighted, rng):
    x, y = data(rng, 2)
    arguments = {"sample_weight": rng.uniform(size=ROWS)} if weighted else {}
    plain = plain_model(2, loss)
    model = keras_modals.augment(plain, policy=STILL, num_views=views, seed=0)
    logs = [
        each.fit(
            x,
            y,
            batch_size=8,
            epochs=3,
            shuffle=False,
            validation_data=(x, y),
            verbose=0,
            **arguments,
        ).history
        for each in (plain, model)
    ]
    assert logs[0].keys() == logs[1].keys()
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        plain.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_metrics_see_the_true_targets(rng):
    x, y = data(rng)
    model = keras_modals.augment(
        plain_model(), policy=MIXING, num_views=2, seed=0, warmup_steps=0
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
    expected = np.abs(model.predict(x, verbose=0) - y).mean()
    logs = model.fit(x, y, batch_size=ROWS, verbose=0).history
    # The first of two views is clean.
    np.testing.assert_allclose(logs["mae"], expected, rtol=1e-5)


def test_it_is_saved_and_goes_on(rng, tmp_path):
    x, y = data(rng)
    model = keras_modals.augment(plain_model(), seed=0)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [each.labels for each in loaded.latent_augmentations] == [Values()] * 3
    losses = [
        each.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    plain = model.inference_model()
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-5)


def test_a_sample_without_a_number_is_left_alone(rng):
    _, y = data(rng, 2)
    y[3, 1], y[5] = np.nan, np.inf
    model = keras_modals.augment(plain_model(2), policy=MIXING, seed=0, warmup_steps=0)
    rows = model.step_scope(Values().read(tensor(y))[0]).rows
    partner, share = array(rows.partner), array(rows.share)
    assert share[[3, 5]].tolist() == [0.0, 0.0]
    assert not set(partner[share > 0]) & {3, 5}


# Kinds of labels ----------------------------------------------------------------------


def test_augment_tells_it_from_loss_and_output():
    assert keras_modals.augment(plain_model()).latent_augmentation.labels == Values()
    binary = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(1, "sigmoid")])
    binary.compile("sgd", "mse")
    assert keras_modals.augment(binary).latent_augmentation.num_classes == 2
    logits = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(3)])
    logits.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert keras_modals.augment(logits).latent_augmentation.num_classes == 3
    scaled = keras.Sequential(
        [
            keras.Input((4,)),
            L.Dense(3),
            L.Dense(1),
            L.Rescaling(20.0),
            L.Reshape((1, 1)),
            L.Flatten(),
        ]
    )
    scaled.compile("sgd", "mse")
    assert keras_modals.augment(scaled).latent_augmentation.labels == Values()
    uncompiled = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(1)])
    model = keras_modals.augment(uncompiled, labels=Values())
    model.compile("sgd", log_cosh_of_my_own)
    model.fit(np.ones((4, 4)), np.arange(4.0), verbose=0)


def _crossentropy(model):
    model.compile("sgd", "categorical_crossentropy")


def _nan(model):
    model.fit(np.ones((4, FEATURES)), np.array([0.0, 1.0, np.nan, 2.0]))


def _monitor(model):
    keras_modals.evaluation.LatentMonitor(*data(np.random.default_rng(0))).set_model(
        model
    )


def _search(model):
    search = keras_modals.SharedEncoderSearch(model, 2, objective="val_accuracy")
    x, y = data(np.random.default_rng(0))
    search.fit(x, y, validation_data=(x, y), epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (_crossentropy, "Pass `num_classes` in place of `labels`"),
        (_nan, "Targets must be finite"),
        (_monitor, "one class for each sample"),
        (_search, "Score it by its loss"),
    ],
)
def test_what_needs_classes_is_refused_by_name(use, message):
    model = keras_modals.augment(plain_model(), seed=0)
    with pytest.raises(ValueError, match=message):
        use(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_classes": 3, "labels": Values()},
        {"labels": "values"},
        {"labels": keras_modals.Classes()},
        {"labels": keras_modals.Classes(1)},
    ],
    ids=["none", "both", "a name", "no number", "one class"],
)
def test_one_of_two_arguments_says_the_kind(arguments):
    with pytest.raises(ValueError, match="`num_classes`"):
        LatentAugmentation(**arguments)


def test_layers_of_a_model_have_one_kind():
    inputs = keras.Input((4,))
    hidden = LatentAugmentation(3)(inputs)
    hidden = LatentAugmentation(labels=Values())(L.Dense(4)(hidden))
    with pytest.raises(ValueError, match="Give all one `labels`"):
        ModalsModel(inputs, L.Dense(3)(hidden))


def test_a_stream(rng):
    import tensorflow as tf

    x, y = data(rng)
    model = keras_modals.augment(plain_model(), seed=0)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    logs = model.fit(stream, epochs=2, shuffle=False, verbose=0).history
    assert list(logs) == ["loss", "mae"]


def test_several_outputs(rng):
    x, y = data(rng)
    inputs = keras.Input((FEATURES,))
    hidden = L.Dense(8, "tanh")(inputs)
    outputs = {
        "number": L.Dense(1, name="number")(hidden),
        "kind": L.Dense(3, "softmax", name="kind")(hidden),
    }
    model = keras.Model(inputs, outputs)
    losses = {"number": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile(keras.optimizers.SGD(0.0), losses)
    targets = {"number": y, "kind": np.arange(ROWS) % 3}
    augmented = keras_modals.augment(
        model, label_output="number", layer=1, policy=MIXING, seed=0, warmup_steps=0
    )
    assert augmented.latent_augmentation.labels == Values()
    state = [array(seed) for seed in seeds(augmented)]
    logs = augmented.train_on_batch(x, targets, return_dict=True)
    for seed, value in zip(seeds(augmented), state, strict=True):
        seed.assign(value)
    with augmented.step_scope(Values().read(y)[0]) as scope:
        found = augmented(x, training=True)
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    number = np.mean((array(found["number"]) - mixed_rows(y, scope.rows)) ** 2)
    # The classes of both samples count, by their shares.
    chances = -np.log(array(found["kind"]))
    kinds, each = targets["kind"], np.arange(ROWS)
    both = (1 - share) * chances[each, kinds] + share * chances[each, kinds[partner]]
    np.testing.assert_allclose(float(logs["loss"]), number + both.mean(), rtol=1e-4)


# Bins ---------------------------------------------------------------------------------


def test_edges_are_the_quantiles_of_the_last_numbers(rng):
    quantiles = StreamQuantiles(5)
    quantiles.build()
    seen = np.zeros(0, "float32")
    for size in (3, 1, 40, 700, 400, 2000):
        numbers = rng.normal(size=size).astype("float32")
        numbers[::3] = np.nan
        edges = array(quantiles.update(tensor(numbers)))
        seen = np.concatenate([seen, numbers])[-(10**6) :]
        kept = seen[np.isfinite(seen)]
        if size == 2000:
            # Only the last 1,024 values of a batch count, some of which are NaN.
            old = seen[:-2000][np.isfinite(seen[:-2000])]
            kept = np.concatenate([old, numbers[-1024:][np.isfinite(numbers[-1024:])]])
        kept = kept[-1024:]
        expected = np.quantile(kept, np.arange(1, 5) / 5, method="inverted_cdf")
        np.testing.assert_array_equal(edges, expected)


def test_bins_are_equally_frequent(rng):
    layer = LatentAugmentation(labels=Values(4), seed=0)
    layer.build((None, FEATURES))
    y = rng.gamma(1.0, size=(400, 1)).astype("float32")
    labels, counts = layer.read(tensor(y))
    groups = array(labels.groups)
    assert np.bincount(groups).tolist() == [100] * 4
    for group in range(3):
        assert y[groups == group].max() < y[groups == group + 1].min()
    assert array(counts).tolist() == [400, 0, 0, 1]
    # Equal numbers are in the same bin, and a sample without a number is in none.
    labels, _ = layer.read(tensor([[1.0], [1.0], [np.nan], [1e9]]))
    groups = array(labels.groups)
    assert groups[0] == groups[1]
    assert groups[2:].tolist() == [-1, 3]


def test_of_several_numbers_the_mean_falls_into_a_bin():
    edges = tensor([0.0, 10.0])
    y = tensor([[-5.0, 4.0], [30.0, -20.0], [100.0, 0.0]])
    assert array(Values(3).groups(y, edges=edges)).tolist() == [0, 1, 2]


def test_the_paper_s_operations_and_triplets_work_in_bins(rng, tmp_path):
    """The memory of a bin holds only the latents of the samples in it."""
    x, y = data(rng)
    policy = Policy.constant(0.5, 0.5)
    model = keras_modals.augment(
        plain_model(), labels=Values(4), policy=policy, layer="head", seed=0
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", triplet_weight=0.1, **EAGER)
    # The first step's bins are those of its own targets.
    logs = model.train_on_batch(x, y, return_dict=True)
    layer = model.latent_augmentation
    edges = np.quantile(y, [0.25, 0.5, 0.75], method="inverted_cdf")
    groups = (y > edges).sum(axis=1)
    assert np.bincount(groups).tolist() == [6] * 4
    encoder = keras.Model(model.input, layer.input)
    latents = array(encoder(x))
    size = layer.memory.memory_size
    for group in range(4):
        kept = array(layer.memory.latents)[group * size : group * size + 6]
        np.testing.assert_allclose(kept, latents[groups == group], atol=1e-6)
    selector = keras_modals.TripletSelector(0.5, "all", "cosine")
    term = keras_modals.Triplets(0.1, selector)
    model.compile(keras.optimizers.SGD(0.0), "mse", terms=[term], **EAGER)
    logs = model.train_on_batch(x, y, return_dict=True)
    expected = float(selector(groups, latents))
    np.testing.assert_allclose(float(logs["triplet_loss"]), expected, rtol=1e-4)
    # The file includes the stream's edges.
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name in ("numbers", "counters"):
        kept, found = (
            array(getattr(each.latent_augmentation.quantiles, name))
            for each in (model, loaded)
        )
        np.testing.assert_array_equal(kept, found)
    assert array(model.latent_augmentation.quantiles.counters).tolist() == [48, 48]


def test_where_nothing_needs_bins_no_number_is_kept(rng):
    model = keras_modals.augment(plain_model(), seed=0)
    model.train_on_batch(*data(rng))
    assert array(model.latent_augmentation.quantiles.counters).tolist() == [0, 0]


# Partners -----------------------------------------------------------------------------


@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 100.0])
@pytest.mark.parametrize("columns", [1, 2])
def test_near_partners_by_a_kernel_of_targets(bandwidth, columns, rng):
    """Checks the frequencies of partners for every row, within 4.5 standard errors."""
    batch, size = 7, 4000
    y = rng.normal(size=(batch, columns)).astype("float32") * 3 + 50
    y[5] = np.nan
    samples = np.tile(np.arange(batch), size).astype("int32")
    labels, _ = Values().read(tensor(y))
    partner = draw_partners(
        ClassMixing(partners="near", bandwidth=bandwidth),
        tensor(rng.uniform(size=(size * batch, 2))),
        tensor(samples, "int32"),
        labels,
        Values(),
    )
    partner = array(partner).reshape(size, batch)
    known = [0, 1, 2, 3, 4, 6]
    deviation = np.sqrt(((y[known] - y[known].mean(0)) ** 2).sum() / len(known))
    for sample in known:
        others = [other for other in known if other != sample]
        squares = ((y[others] - y[sample]) ** 2).sum(axis=1) / deviation**2
        expected = np.zeros(batch)
        expected[others] = np.exp(-squares / 2 / bandwidth**2)
        expected /= expected.sum()
        counts = np.bincount(partner[:, sample], minlength=batch)
        errors = np.sqrt(size * expected * (1 - expected))
        assert np.all(np.abs(counts - size * expected) <= 4.5 * errors + 1e-9), sample


def test_the_narrowest_kernel_has_the_nearest_partner():
    y = tensor([[0.0], [1.0], [3.0], [100.0]])
    labels, _ = Values().read(y)
    partner = draw_partners(
        ClassMixing(partners="near", bandwidth=1e-3),
        tensor(np.full((4, 2), 0.5)),
        tensor(np.arange(4), "int32"),
        labels,
        Values(),
    )
    assert array(partner).tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, "wide", float("nan")])
def test_a_bandwidth_is_positive(bandwidth):
    with pytest.raises(ValueError, match="`bandwidth`"):
        ClassMixing(partners="near", bandwidth=bandwidth)


def test_a_number_of_bins_is_checked():
    with pytest.raises(ValueError, match="num_bins=1"):
        Values(1)


@pytest.mark.slow
def test_a_search_by_the_loss(rng):
    """The best member's score is the loss of the model that it becomes."""
    x, y = data(rng)
    policy = Policy.constant(0.3, 0.3)
    model = keras_modals.augment(plain_model(), policy=policy, layer="head", seed=0)
    search = keras_modals.SharedEncoderSearch(model, 2, objective="val_loss")
    search.fit(x, y, validation_data=(x, y), epochs=2, verbose=0)
    best = search.best_model()
    loss, _ = best.evaluate(x, y, verbose=0)
    scores = array(search.member_scores.result())
    np.testing.assert_allclose(loss, scores.min(), rtol=1e-4)
    assert best.latent_augmentation.labels == Values()


@pytest.mark.parametrize(
    "ends",
    [
        lambda: [L.Dense(1), L.ReLU()],
        lambda: [L.Dense(3), L.LeakyReLU()],
        lambda: [L.Reshape((3, 2)), L.TimeDistributed(L.Dense(1))],
        lambda: [L.Reshape((3, 2)), L.Bidirectional(L.LSTM(1))],
    ],
    ids=["relu", "leaky", "time distributed", "bidirectional"],
)
def test_a_regression_is_told_by_what_an_output_comes_from(ends):
    model = keras.Sequential([keras.Input((6,)), L.Dense(6), *ends()])
    model.compile("sgd", "mse")
    assert keras_modals.augment(model, 1).latent_augmentation.labels == Values()


def test_where_it_cannot_be_told_it_is_asked_for():
    inputs = keras.Input((6,))
    outputs = keras.ops.squeeze(L.Dense(1)(L.Dense(4)(inputs)), -1)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"Pass `labels=keras_modals.Values\(\)`"):
        keras_modals.augment(model)
    labels = keras_modals.augment(model, 1, labels=Values()).latent_augmentation.labels
    assert labels == Values()
