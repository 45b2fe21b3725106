"""Several labels at once: rows of 0 and 1, mixed like numbers."""

import keras
import numpy as np
import pytest
from portable import BACKEND, array, tensor

import keras_modals
from keras_modals import LatentAugmentation, MultiLabels, Policy, TripletSelector

pytestmark = pytest.mark.backend

L = keras.layers
FEATURES, ROWS, LABELS = 6, 24, 4

#: On TensorFlow, building the graph of a step would take most of a test's time.
EAGER = {"run_eagerly": BACKEND == "tensorflow"}
MIXING = Policy({"class_mixing": (1.0, 0.8)})
STILL = Policy({"class_mixing": (0.0, 0.0)})


def plain_model(loss="binary_crossentropy", activation="sigmoid"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            L.Dense(8, "tanh"),
            L.Dense(5, "tanh"),
            L.Dense(LABELS, activation, name="head"),
        ]
    )
    metrics = ["accuracy", keras.metrics.AUC(multi_label=True, name="auc")]
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=metrics, **EAGER)
    return model


def data(rng):
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    y = (x[:, :LABELS] > 0.3).astype("float32")
    # Include both kinds of rows without a class.
    y[0], y[1] = 0.0, 1.0
    return x, y


def focal(y_true, y_pred):
    return keras.losses.binary_focal_crossentropy(y_true, y_pred, gamma=1.5)


LOSSES = [
    ("binary_crossentropy", "sigmoid"),
    (keras.losses.BinaryCrossentropy(from_logits=True), None),
    (keras.losses.BinaryFocalCrossentropy(), "sigmoid"),
    (keras.losses.BinaryCrossentropy(reduction="sum"), "sigmoid"),
    (focal, "sigmoid"),
]
if BACKEND == "jax":
    # JAX compiles each of them.
    LOSSES = LOSSES[1::2]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(("loss", "activation"), LOSSES, ids=range(len(LOSSES)))
def test_rows_are_mixed_as_the_latents_are(loss, activation, views, rng):
    x, y = data(rng)
    model = plain_model(loss, activation)
    arguments = {} if loss is not focal else {"labels": MultiLabels(LABELS)}
    model = keras_modals.augment(
        model, policy=MIXING, num_views=views, seed=0, warmup_steps=0, **arguments
    )
    assert model.latent_augmentation.labels == MultiLabels(LABELS)
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    states = [layer.seed_generator.state for layer in model.latent_augmentations]
    before = [array(state) for state in states]
    found = model.train_on_batch(x, y.astype("int32"), return_dict=True)["loss"]
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    labels, _ = model.read_labels(tensor(y))
    with model.step_scope(labels) as scope:
        outputs = array(model(x, training=True)).astype("float64")
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    assert np.mean(share > 0) > 0.4
    own = y[np.arange(len(share)) % ROWS]
    mixed = own + share[:, None] * (y[partner] - own)
    expected = keras.losses.get(loss)(tensor(mixed), tensor(outputs))
    if not isinstance(loss, keras.losses.Loss):
        expected = np.mean(array(expected))
    elif loss.reduction == "sum":
        # The result is a mean over views of a sum over samples.
        expected = expected / views
    np.testing.assert_allclose(float(found), float(expected), rtol=2e-5)


@pytest.mark.parametrize(("loss", "activation"), LOSSES, ids=range(len(LOSSES)))
def test_a_policy_that_moves_nothing_changes_no_number(loss, activation, rng):
    x, y = data(rng)
    plain = plain_model(loss, activation)
    model = keras_modals.augment(
        plain, policy=STILL, seed=0, labels=MultiLabels(LABELS)
    )
    logs = [
        each.fit(
            x,
            y,
            batch_size=8,
            epochs=3,
            shuffle=False,
            validation_data=(x, y),
            sample_weight=np.linspace(0.5, 1.5, ROWS),
            verbose=0,
        ).history
        for each in (plain, model)
    ]
    assert logs[0].keys() == logs[1].keys()
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5, err_msg=name)


# Groups ---------------------------------------------------------------------------


def test_a_sample_is_in_the_group_of_one_of_its_labels():
    """Each label is drawn equally often, within 4.5 standard errors."""
    y = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [-1, -1, -1, -1]])
    size = 3000
    seed = keras.random.SeedGenerator(0)
    groups = MultiLabels(4).groups(tensor(np.tile(y, (size, 1))), seed=seed)
    groups = array(groups).reshape(size, 4)
    counts = np.bincount(groups[:, 0], minlength=5)
    assert counts[[1, 4]].tolist() == [0, 0]
    error = np.sqrt(size * (1 / 3) * (2 / 3))
    assert np.all(np.abs(counts[[0, 2, 3]] - size / 3) < 4.5 * error)
    assert np.all(groups[:, 1:] == [4, 1, -1])
    # Without a seed, it is the first label.
    assert array(MultiLabels(4).groups(tensor(y))).tolist() == [0, 4, 1, -1]


def test_a_row_of_shares_counts_for_its_halves():
    y = tensor([[0.5, 0.49, 0.1], [0.2, 0.9, 1.0], [0.2, 1.1, 0.0], [0.0, np.nan, 1.0]])
    labels, counts = MultiLabels(3).read(y)
    assert array(labels.groups).tolist() == [0, 1, -1, -1]
    compared = [[1, 0, 0], [0, 1, 1], [-1, -1, -1], [-1, -1, -1]]
    assert array(labels.compared).tolist() == compared
    # Neither of the two invalid rows is marked as unlabeled.
    assert array(counts).tolist() == [4, 2, 2, 1]


def test_the_memory_has_each_sample_under_the_label_drawn(rng):
    x, y = data(rng)
    model = keras_modals.augment(
        plain_model(), policy=Policy.constant(0.5, 0.5), layer="head", seed=0
    )
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", **EAGER)
    layer = model.latent_augmentation
    model.train_on_batch(x, y)
    size = layer.memory.memory_size
    encoder = keras.Model(model.input, layer.input)
    latents = array(encoder(x))
    kept, found = array(layer.memory.latents), []
    for group in range(LABELS + 1):
        count = int(array(layer.memory.counters)[group, 0])
        for latent in kept[group * size : group * size + count]:
            sample = int(np.argmin(np.abs(latents - latent).sum(axis=1)))
            np.testing.assert_allclose(latents[sample], latent, atol=1e-6)
            found.append(sample)
            is_of_group = y[sample].sum() == 0 if group == LABELS else y[sample, group]
            assert is_of_group
    assert sorted(found) == list(range(ROWS))


# Triplets -------------------------------------------------------------------------


def loss_by_loops(y, latents, margin):
    losses = []
    for a in range(len(y)):
        for p in range(a + 1, len(y)):
            if min(y[a].min(), y[p].min()) < 0 or not (y[a] * y[p]).any():
                continue
            for n in range(len(y)):
                if y[n].min() < 0 or (y[a] * y[n]).any() or n == a:
                    continue
                near, far = (((latents[a] - latents[i]) ** 2).sum() for i in (p, n))
                losses.append(near - far + margin)
    return np.mean([loss for loss in losses if loss > 0])


def test_triplets_share_a_label_or_none(rng):
    y = (rng.uniform(size=(ROWS, LABELS)) < 0.3).astype("float32")
    y[3] = -1.0
    y[4, 2] = -1.0
    y[5] = 0.0
    latents = rng.normal(size=(ROWS, 5)).astype("float32")
    selector = TripletSelector(2.0, "all", multi_label=True)
    expected = loss_by_loops(y, latents.astype("float64"), 2.0)
    np.testing.assert_allclose(float(selector(y, latents)), expected, rtol=1e-5)
    # Rows with one label each are equivalent to classes.
    classes = rng.integers(0, LABELS, ROWS)
    one_hot = np.eye(LABELS, dtype="float32")[classes]
    for mining in ("all", "hardest", "semihard", "random"):
        values = [
            float(TripletSelector(2.0, mining, multi_label=several, seed=0)(y, latents))
            for several, y in ((True, one_hot), (False, classes))
        ]
        np.testing.assert_allclose(*values, rtol=1e-6)
    assert selector.get_config()["multi_label"] is True


def test_the_term_compares_the_rows_of_samples(rng):
    x, y = data(rng)
    model = keras_modals.augment(plain_model(), policy=STILL, layer="head", seed=0)
    selector = TripletSelector(2.0, "all", multi_label=True)
    term = keras_modals.Triplets(0.1, selector)
    model.compile(
        keras.optimizers.SGD(0.0), "binary_crossentropy", terms=[term], **EAGER
    )
    logs = model.train_on_batch(x, y, return_dict=True)
    encoder = keras.Model(model.input, model.latent_augmentation.input)
    expected = loss_by_loops(y, array(encoder(x)).astype("float64"), 2.0)
    np.testing.assert_allclose(float(logs["triplet_loss"]), expected, rtol=1e-4)


@pytest.mark.slow
def test_the_default_triplets_are_of_several_labels(rng, tmp_path):
    x, y = data(rng)
    model = keras_modals.augment(plain_model(), seed=0)
    model.compile("sgd", "binary_crossentropy", triplet_weight=0.1, prior_weight=0.01)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.latent_augmentation.labels == MultiLabels(LABELS)
    assert [term.loss.multi_label for term in loaded.terms[:1]] == [True]
    losses = [
        each.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


# By hand, and in searches -----------------------------------------------------------


def test_by_hand(rng):
    x, y = data(rng)
    layer = LatentAugmentation(labels=MultiLabels(LABELS), policy=MIXING, seed=0)
    moved = layer({"latents": x, "labels": y}, training=True)
    latents, labels = array(moved["latents"]), array(moved["labels"])
    changed = np.flatnonzero(np.any(latents != x, axis=1))
    assert len(changed) > ROWS / 2
    for row in changed:
        # The partner that explains the latent also explains the labels.
        fits = [
            np.linalg.lstsq((other - x[row])[:, None], latents[row] - x[row])
            for other in x
        ]
        errors = [fit[1].item() if len(fit[1]) else np.inf for fit in fits]
        partner = int(np.argmin(errors))
        expected = y[row] + fits[partner][0] * (y[partner] - y[row])
        np.testing.assert_allclose(labels[row], expected, rtol=1e-3, atol=1e-4)


def test_a_search_scores_by_the_share_of_right_labels(rng):
    x, y = data(rng)
    model = keras_modals.augment(
        plain_model(), policy=Policy.constant(0.0, 0.0), seed=0
    )
    search = keras_modals.SharedEncoderSearch(model, 2, objective="val_accuracy")
    search.fit(x, y, validation_data=(x, y), epochs=2, verbose=0)
    best = search.best_model()
    outputs = best.predict(x, verbose=0)
    expected = np.mean((outputs > 0.5) == (y > 0.5))
    scores = 1.0 - array(search.member_scores.result())
    np.testing.assert_allclose(scores.max(), expected, atol=0.5 / y.size)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones((8, 3)), r"shape \(batch, 4\).*shape \(8, 3\)"),
        (np.ones(8), r"shape \(8,\)"),
        (np.full((8, 4), 2), r"must be in \[0, 1\].*a row \[2 2 2 2\]"),
        (np.full((8, 4), -1.0), "a custom loss"),
        (np.full((8, 4), "a"), "must be rows of 0 and 1"),
    ],
    ids=["width", "rank", "values", "unlabeled", "names"],
)
def test_arrays_that_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        keras_modals.augment(plain_model()).fit(np.ones((8, FEATURES)), y)


def test_a_loss_of_one_s_own_may_leave_samples_out():
    MultiLabels(2).check(np.array([[0, 1], [-1, -1]]), ignored=(-1,))


def _softmax():
    return keras_modals.augment(
        keras.Sequential(
            [keras.Input((4,)), L.Dense(3), L.Dense(LABELS, "softmax")],
        ),
        labels=MultiLabels(LABELS),
    )


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match=r"`num_classes` in place.*=softmax"):
        _softmax().compile("sgd", "binary_crossentropy")
    with pytest.raises(ValueError, match=r"shape \(batch, 9\).*\(None, 4\)"):
        keras_modals.augment(plain_model(), labels=MultiLabels(9))
    model = keras_modals.augment(plain_model(), 1)
    term = keras_modals.Triplets(0.1, TripletSelector())
    with pytest.raises(ValueError, match="needs `multi_label=True`"):
        model.compile("sgd", "binary_crossentropy", terms=[term])
    with pytest.raises(ValueError, match="one class for each sample"):
        keras_modals.evaluation.LatentMonitor(
            *data(np.random.default_rng(0))
        ).set_model(model)
    with pytest.raises(ValueError, match="num_labels=1"):
        MultiLabels(1)


def test_labels_may_be_booleans(rng):
    x, y = data(rng)
    losses = []
    for kind in (y, y > 0):
        model = keras_modals.augment(plain_model(), policy=MIXING, seed=0)
        losses.append(model.train_on_batch(x, kind, return_dict=True)["loss"])
    np.testing.assert_allclose(*map(float, losses), rtol=1e-6)
