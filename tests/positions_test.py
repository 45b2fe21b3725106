"""A label for each position: tokens and pixels, with masks and ignored labels."""

import keras
import numpy as np
import pytest
from portable import BACKEND, array, tensor

import keras_modals
from keras_modals import (
    Classes,
    LatentAugmentation,
    ModalsModel,
    MultiLabels,
    Policy,
    Positions,
    TripletSelector,
)

pytestmark = pytest.mark.backend

L = keras.layers
ROWS, TIME, WORDS, TAGS = 12, 5, 20, 3

#: On TensorFlow, building the graph of a step would take most of a test's time.
EAGER = {"run_eagerly": BACKEND == "tensorflow"}
MIXING = Policy({"class_mixing": (0.7, 0.8)})
STILL = Policy({"class_mixing": (0.0, 0.0)})


def sparse(**arguments):
    return keras.losses.SparseCategoricalCrossentropy(**arguments)


def tagger(mask=True, loss="sparse_categorical_crossentropy", activation="softmax"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            L.Embedding(WORDS, 6, mask_zero=mask, name="words"),
            L.Bidirectional(L.SimpleRNN(4, return_sequences=True), name="rnn"),
            L.Dense(TAGS, activation, name="tags"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], **EAGER)
    return model


def sentences(rng):
    """Returns token ids, with 0 for padding, their tags, and where tokens are."""
    x = rng.integers(1, WORDS, (ROWS, TIME))
    lengths = rng.integers(1, TIME + 1, ROWS)
    lengths[:2] = TIME, 1
    present = np.arange(TIME) < lengths[:, None]
    return x * present, (x % TAGS) * present, present


def unet(size=8, classes=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 2))
    down = L.Conv2D(4, 3, activation="relu", padding="same", name="down")(inputs)
    deep = L.Conv2D(6, 3, strides=2, activation="relu", padding="same")(down)
    up = L.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(deep)
    both = L.Concatenate(name="both")([up, down])
    both = L.Conv2D(5, 3, activation="tanh", padding="same", name="last")(both)
    outputs = L.Conv2D(classes, 1, activation="softmax", name="pixels")(both)
    return keras.Model(inputs, outputs)


def seeds(model):
    return [layer.seed_generator.state for layer in model.latent_augmentations]


def latents_of(model, x):
    """Returns the input of the last layer, without its mask."""
    latents, _ = model.latent_augmentation.input
    return array(keras.Model(model.input, latents)(x))


def step_of(model, x, y, **arguments):
    """Returns the logs of a step, and the scope and outputs of one with equal draws."""
    states = [array(seed) for seed in seeds(model)]
    logs = model.train_on_batch(x, y, return_dict=True, **arguments)
    for seed, value in zip(seeds(model), states, strict=True):
        seed.assign(value)
    labels, _ = model.read_labels(tensor(y, keras.backend.standardize_dtype(y.dtype)))
    with model.step_scope(labels) as scope:
        outputs = array(model(x, training=True)).astype("float64")
    return logs, scope, outputs


# Mixing, compared with loops ------------------------------------------------------


def loss_by_loops(chances, y, valid, partner, share, weights=None):
    """Returns the mean cross-entropy over valid positions, with the label of a sample
    and the label of its partner there, if it has one."""
    total, count = 0.0, 0
    for row in range(len(y)):
        for position in np.ndindex(y.shape[1:]):
            if not valid[row][position]:
                continue
            count += 1
            other = partner[row] if valid[partner[row]][position] else row
            for part, who in ((1 - share[row], row), (share[row], other)):
                weight = 1.0 if weights is None else weights[who][position]
                chance = chances[row][position][y[who][position]]
                total -= part * weight * np.log(chance)
    return total / count


#: There are fewer on JAX, which compiles each of them.
EVERY = 3 if BACKEND == "jax" else 1
HOW = [
    (layer, how)
    for layer in ("words", "rnn", "auto")
    for how in ("mask", "ignored", "weights", "all")
][::EVERY]


@pytest.mark.parametrize(("layer", "how"), HOW)
def test_a_position_counts_for_who_has_it(layer, how, rng):
    x, y, present = sentences(rng)
    valid, weights, loss = present, None, "sparse_categorical_crossentropy"
    if how == "ignored":
        y, loss = np.where(present, y, -100), sparse(ignore_class=-100)
    elif how == "weights":
        weights = rng.uniform(0.5, 2.0, (ROWS, TIME)).astype("float32")
    elif how == "all":
        valid = np.ones_like(present)
    model = keras_modals.augment(
        tagger(how in ("mask", "weights"), loss),
        layer,
        policy=MIXING,
        seed=0,
        warmup_steps=0,
    )
    assert model.latent_augmentation.labels == Positions(Classes(TAGS))
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    logs, scope, outputs = step_of(model, x, y, sample_weight=weights)
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    assert np.mean(share > 0) > 0.4
    expected = loss_by_loops(outputs, y, valid, partner, share, weights)
    np.testing.assert_allclose(float(logs["loss"]), expected, rtol=2e-5)


def test_metrics_see_the_positions_of_the_sample(rng):
    x, y, present = sentences(rng)
    model = keras_modals.augment(
        tagger(), "words", policy=MIXING, seed=0, warmup_steps=0
    )
    model.compile(
        keras.optimizers.SGD(0.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **EAGER,
    )
    logs, scope, outputs = step_of(model, x, y)
    assert np.mean(array(scope.rows.share) > 0) > 0.4
    if BACKEND == "jax":
        # On JAX, Keras metrics do not receive a mask.
        present = np.ones_like(present)
    right = (outputs.argmax(-1) == y)[present].mean()
    np.testing.assert_allclose(float(logs["accuracy"]), right, rtol=1e-6)


def test_pixels_are_mixed_at_any_depth(rng):
    x = rng.normal(size=(6, 8, 8, 2)).astype("float32")
    y = rng.integers(0, 3, (6, 8, 8))
    y[:, :2] = 255
    labeled = (y != 255).astype("float32")
    model = unet()
    if BACKEND == "torch":
        # On PyTorch, Keras's sparse loss has no gradient for pixels. A row of zeros
        # means no label.
        targets = np.eye(3, dtype="float32")[y % 3] * labeled[..., None]
        loss, valid, y = "categorical_crossentropy", np.ones_like(y), y % 3
    else:
        loss, targets, valid = sparse(ignore_class=255), y, labeled
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    model = keras_modals.augment(model, policy=MIXING, seed=0, warmup_steps=0)
    assert len(model.latent_augmentations) >= 2
    for _ in range(4):
        logs, scope, outputs = step_of(model, x, targets)
        partner, share = array(scope.rows.partner), array(scope.rows.share)
        expected = loss_by_loops(outputs, y, valid, partner, share, labeled)
        np.testing.assert_allclose(float(logs["loss"]), expected, rtol=2e-5)


@pytest.mark.parametrize("unlabeled", [False, True])
def test_several_labels_at_each_position(unlabeled, rng):
    x, _, present = sentences(rng)
    y = (rng.uniform(size=(ROWS, TIME, TAGS)) < 0.4).astype("float32")
    known = present
    loss = "binary_crossentropy"
    if unlabeled:
        y[:, 0] = -1.0
        known = present & (np.arange(TIME) > 0)

        def loss(y_true, y_pred):
            """Skips unknown labels."""
            known = keras.ops.maximum(y_true, 0.0)
            losses = keras.losses.binary_crossentropy(known, y_pred)
            return keras.ops.where(y_true[..., 0] < 0, 0.0, losses)

    model = keras_modals.augment(
        tagger(loss=loss, activation="sigmoid"),
        "words",
        labels=Positions(MultiLabels(TAGS)),
        policy=MIXING,
        seed=0,
        warmup_steps=0,
    )
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    logs, scope, outputs = step_of(model, x, y)
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    total, count = 0.0, 0
    for row in range(ROWS):
        count += present[row].sum()
        for position in np.flatnonzero(known[row]):
            other = partner[row] if known[partner[row], position] else row
            for weight, who in ((1 - share[row], row), (share[row], other)):
                target, output = y[who, position], outputs[row, position]
                chances = np.where(target > 0, output, 1 - output)
                total -= weight * np.log(chances).mean()
    np.testing.assert_allclose(float(logs["loss"]), total / count, rtol=2e-5)


# As in Keras ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "views"),
    [
        (how, views)
        for how in ("mask", "ignored", "one-hot", "column")
        for views in (1, 2)
    ][::EVERY],
)
def test_a_policy_that_moves_nothing_changes_no_number(how, views, rng):
    x, y, present = sentences(rng)
    loss = "sparse_categorical_crossentropy"
    if how == "ignored":
        y, loss = np.where(present, y, 255), sparse(ignore_class=255)
    elif how == "one-hot":
        y, loss = np.eye(TAGS, dtype="float32")[y], "categorical_crossentropy"
    elif how == "column":
        y = y[..., None]
    plain = tagger(how != "ignored", loss)
    model = keras_modals.augment(plain, policy=STILL, num_views=views, seed=0)
    logs = [
        each.fit(
            x,
            y,
            batch_size=4,
            epochs=3,
            shuffle=False,
            validation_data=(x, y),
            verbose=0,
        ).history
        for each in (plain, model)
    ]
    if how == "ignored":
        # The ignored labels are padding, which the plain model's accuracy does not
        # know of, either.
        np.testing.assert_allclose(
            logs[1].pop("ignored_labels"), [1 - present.mean()] * 3, rtol=1e-6
        )
    assert logs[0].keys() == logs[1].keys()
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_it_is_saved_and_goes_on(rng, tmp_path):
    x, y, _ = sentences(rng)
    model = keras_modals.augment(
        tagger(), policy=Policy.constant(0.3, 0.3), layer="rnn", seed=0
    )
    model.compile("adam", "sparse_categorical_crossentropy", triplet_weight=0.1)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.latent_augmentation.labels == Positions(Classes(TAGS))
    losses = [
        each.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    plain = model.inference_model()
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-5)


# Individual positions -------------------------------------------------------------


@pytest.mark.slow
def test_operations_move_positions_that_have_a_label(rng):
    """Each position moves separately, and masked or ignored ones do not move."""
    policy = Policy({"gaussian_noise": (1.0, 1.0)}, operation_counts=(0.0, 1.0))
    layer = LatentAugmentation(TAGS, policy, axis=-1, seed=0)
    latents = rng.normal(size=(ROWS, TIME, 4)).astype("float32")
    y = rng.integers(0, TAGS, (ROWS, TIME))
    y[0, 0], y[3] = -100, -1
    mask = np.ones((ROWS, TIME), bool)
    mask[5, 2:] = False
    labels = tensor(y, "int32")
    layer(tensor(latents), labels=labels, training=True, mask=tensor(mask, "bool"))
    # The memory now holds what the layer has seen.
    known = (y >= 0) & mask
    counts = array(layer.memory.counters)[:TAGS, 0]
    assert counts.tolist() == np.bincount(y[known], minlength=TAGS).tolist()
    moved = array(
        layer(tensor(latents), labels=labels, training=True, mask=tensor(mask, "bool"))
    )
    changed = np.any(moved != latents, axis=-1)
    np.testing.assert_array_equal(changed, known)
    # Noise has the standard deviation of the position's class.
    for tag in range(TAGS):
        chosen = known & (y == tag)
        noise = (moved - latents)[chosen] / latents[chosen].std(axis=0)
        assert 0.6 < noise.std() < 1.5


def test_terms_and_memory_see_the_clean_positions(rng):
    x, y, present = sentences(rng)
    policy = Policy({"class_mixing": (0.5, 0.5), "gaussian_noise": (0.0, 0.0)})
    model = keras_modals.augment(tagger(), "rnn", policy=policy, seed=0, warmup_steps=0)
    selector = TripletSelector(2.0, "all")
    term = keras_modals.Triplets(0.1, selector)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, terms=[term], **EAGER)
    logs = model.train_on_batch(x, y, return_dict=True)
    layer = model.latent_augmentation
    latents = latents_of(model, x)
    expected = float(selector(y[present], latents[present]))
    np.testing.assert_allclose(float(logs["triplet_loss"]), expected, rtol=1e-4)
    size = layer.memory.memory_size
    for tag in range(TAGS):
        chosen = latents[present & (y == tag)]
        count = int(array(layer.memory.counters)[tag, 0])
        kept = array(layer.memory.latents)[tag * size : tag * size + count]
        assert count == len(chosen)
        np.testing.assert_allclose(
            kept[np.lexsort(kept.T)], chosen[np.lexsort(chosen.T)], atol=1e-6
        )


def test_what_was_mixed_before_is_seen_by_no_term(rng):
    x, y, present = sentences(rng)
    model = keras_modals.augment(
        tagger(), ["words", "rnn"], policy=MIXING, seed=0, warmup_steps=0
    )
    labels, _ = model.read_labels(tensor(y, "int32"))
    seen = set()
    for _ in range(6):
        with model.step_scope(labels) as scope:
            model(x, training=True)
        level = int(array(scope.mixing.level))
        seen.add(level)
        recorded = scope.recorded(model.latent_augmentation, labels.compared)
        known = present.copy()
        if level == 0:
            known &= ~(array(scope.rows.share) > 0)[:, None]
        rows = array(recorded.rows)
        assert sorted(rows) == list(range(ROWS * TIME))
        expected = np.where(known, y, -1).reshape(-1)[rows]
        np.testing.assert_array_equal(array(recorded.labels), expected)
        np.testing.assert_array_equal(array(recorded.sample_weight), expected >= 0)
    assert seen == {0, 1}


def test_of_many_positions_some_with_a_label_are_drawn(rng):
    y = np.full((4, 100), -1)
    y[:, ::4] = rng.integers(0, TAGS, (4, 25))
    inputs = keras.Input((100, 6))
    layer = LatentAugmentation(TAGS, STILL, axis=-1, max_rows=60, seed=0)
    model = ModalsModel(inputs, L.Dense(TAGS, "softmax")(layer(inputs)))
    x = rng.normal(size=(4, 100, 6)).astype("float32")
    labels, _ = model.read_labels(tensor(y, "int32"))
    counts = np.zeros(400)
    for _ in range(200):
        with model.step_scope(labels) as scope:
            model(x, training=True)
        latents, found, weights, rows = (
            array(each) for each in scope.recorded(layer, labels.compared)
        )
        assert len(rows) == 60 == len(set(rows))
        np.testing.assert_array_equal(found, y.reshape(-1)[rows])
        np.testing.assert_array_equal(latents, x.reshape(-1, 6)[rows])
        assert weights.min() == 1.0
        counts[rows] += 1
    known = y.reshape(-1) >= 0
    assert counts[~known].max() == 0
    # Each is drawn equally often, within 4.5 standard errors.
    error = np.sqrt(200 * 0.6 * 0.4)
    assert np.all(np.abs(counts[known] - 120) < 4.5 * error)


@pytest.mark.slow
def test_many_classes_at_many_positions():
    """The number of pairs of a class and a position overflows an int32."""
    classes, positions = 20_000, 200_000
    layer = LatentAugmentation(
        classes,
        Policy.single("difference_transform", 0.5),
        axis=-1,
        memory_size=2,
        max_rows=positions,
        seed=0,
    )
    latents = np.arange(positions, dtype="float32").reshape(1, positions, 1) % classes
    y = (np.arange(positions) % classes).reshape(1, positions)
    layer(tensor(latents), labels=tensor(y, "int32"), training=True)
    kept = array(layer.memory.latents)[:-1].reshape(classes, 2)
    np.testing.assert_array_equal(kept, np.arange(classes)[:, None] + [[0, 0]])
    assert array(layer.memory.counters)[:-1, 0].tolist() == [2] * classes


def test_by_hand(rng):
    layer = LatentAugmentation(TAGS, MIXING, axis=-1, seed=0)
    latents = rng.normal(size=(ROWS, TIME, 4)).astype("float32")
    y = rng.integers(0, TAGS, (ROWS, TIME))
    y[1, 2] = -1
    moved = layer({"latents": latents, "labels": tensor(y, "int32")}, training=True)
    found, labels = array(moved["latents"]), array(moved["labels"])
    one_hot = np.concatenate([np.eye(TAGS), np.zeros((1, TAGS))])[y]
    assert labels.shape == (ROWS, TIME, TAGS)
    changed = np.flatnonzero(np.any(found != latents, axis=(1, 2)))
    assert len(changed) > ROWS / 3
    for row in changed:
        directions = latents - latents[row]
        step = (found - latents)[row]
        shares = [
            (step * way).sum() / max((way * way).sum(), 1e-9) for way in directions
        ]
        errors = [np.abs(step - s * d).max() for s, d in zip(shares, directions)]
        partner = int(np.argmin(errors))
        expected = one_hot[row] + shares[partner] * (one_hot[partner] - one_hot[row])
        np.testing.assert_allclose(labels[row], expected, atol=1e-4)


@pytest.mark.slow
def test_lengths_need_not_be_known(rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None,), dtype="int32")
    hidden = L.Embedding(WORDS, 6, mask_zero=True)(inputs)
    hidden = L.LSTM(4, return_sequences=True, name="rnn")(hidden)
    model = keras.Model(inputs, L.Dense(TAGS, "softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", **EAGER)
    model = keras_modals.augment(
        model, "rnn", policy=Policy.constant(0.5, 0.5), seed=0, warmup_steps=0
    )
    model.compile(
        "adam", "sparse_categorical_crossentropy", triplet_weight=0.1, **EAGER
    )
    x, y, present = sentences(rng)
    for length in (TIME, 3):
        model.train_on_batch(x[:, :length], y[:, :length])
    counts = array(model.latent_augmentation.memory.counters)[:TAGS, 0]
    expected = sum(
        np.bincount(y[:, :n][present[:, :n]], minlength=TAGS) for n in (TIME, 3)
    )
    assert counts.tolist() == np.minimum(expected, 100).tolist()


def test_hardness_is_the_loss_of_the_position(rng):
    x, y, present = sentences(rng)
    policy = Policy.single("hard_interpolation", 0.5)
    model = keras_modals.augment(tagger(), "rnn", policy=policy, seed=0)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    # Nothing is moved yet, since there is nothing to move to.
    model.train_on_batch(x, y)
    layer = model.latent_augmentation
    latents = latents_of(model, x)[present]
    chances = array(model(x))[present][np.arange(present.sum()), y[present]]
    size = layer.memory.memory_size
    for tag in range(TAGS):
        count = int(array(layer.memory.counters)[tag, 0])
        for slot in range(tag * size, tag * size + count):
            latent = array(layer.memory.latents)[slot]
            position = np.argmin(np.abs(latents - latent).sum(axis=1))
            hardness = array(layer.memory.hardness)[slot]
            np.testing.assert_allclose(hardness, -np.log(chances[position]), rtol=1e-4)


# Kinds of labels, and errors ------------------------------------------------------


def test_augment_tells_it_from_output_and_loss():
    found = keras_modals.augment(unet()).latent_augmentation
    assert found.labels == Positions(Classes(3))
    binary = unet(classes=1)
    binary.layers[-1].activation = keras.activations.sigmoid
    binary.compile("sgd", "binary_crossentropy")
    found = keras_modals.augment(binary).latent_augmentation
    assert found.labels == Positions(Classes(2))
    several = tagger(activation="sigmoid", loss="binary_crossentropy")
    found = keras_modals.augment(several).latent_augmentation
    assert found.labels == Positions(MultiLabels(TAGS))
    depth = unet(classes=1)
    depth.layers[-1].activation = keras.activations.linear
    depth.compile("sgd", "mse")
    assert keras_modals.augment(depth).latent_augmentation.labels == (
        keras_modals.Values()
    )


def test_an_index_of_padding_is_named(rng):
    """A custom loss skips it, as in tutorials on named entity recognition."""
    x, y, present = sentences(rng)
    y = np.where(present, y + 1, 0)

    def loss(y_true, y_pred):
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
        mask = keras.ops.cast(y_true > 0, "float32")
        return keras.ops.sum(losses * mask) / keras.ops.sum(mask)

    model = tagger(mask=False)
    model.pop()
    model.add(L.Dense(TAGS + 1, "softmax"))
    labels = Positions(Classes(TAGS + 1, ignore_class=0))
    policy = Policy({"gaussian_noise": (0.5, 0.5)})
    model = keras_modals.augment(model, "rnn", labels=labels, policy=policy, seed=0)
    model.compile("adam", loss, **EAGER)
    model.fit(x, y, verbose=0)
    counts = array(model.latent_augmentation.memory.counters)[: TAGS + 1, 0]
    assert counts.tolist() == [0, *np.bincount(y[present])[1:].tolist()]


def _pooled():
    inputs = keras.Input((TIME, 4))
    hidden = L.Flatten()(inputs)
    LatentAugmentation(TAGS, Policy.constant(0.5, 0.5), axis=-1)(hidden)


def _other_positions():
    inputs = keras.Input((6, 4))
    hidden = L.Conv1D(4, 3, strides=2, padding="same")(inputs)
    policy = Policy({"gaussian_noise": (0.5, 0.5)})
    hidden = LatentAugmentation(TAGS, policy, axis=-1, name="few")(hidden)
    outputs = L.Dense(TAGS, "softmax")(L.UpSampling1D()(hidden))
    model = ModalsModel(inputs, outputs)
    model.compile("sgd", "sparse_categorical_crossentropy", **EAGER)
    model.fit(np.ones((4, 6, 4)), np.zeros((4, 6), int), verbose=0)


def _balanced():
    operation = keras_modals.operations.ClassMixing(partners="balanced")
    LatentAugmentation(TAGS, Policy({operation: (0.5, 0.5)}), axis=-1)


def _pooled_output():
    inputs = keras.Input((TIME, 4))
    hidden = LatentAugmentation(TAGS, axis=-1)(inputs)
    ModalsModel(inputs, L.Dense(TAGS)(L.GlobalAveragePooling1D()(hidden)))


def _one_label(rng=None):
    model = keras_modals.augment(tagger())
    model.fit(np.ones((ROWS, TIME), int), np.zeros(ROWS, int), verbose=0)


def _out_of_range():
    model = keras_modals.augment(tagger())
    model.fit(np.ones((ROWS, TIME), int), np.full((ROWS, TIME), 7), verbose=0)


def _sample_rows():
    LatentAugmentation(3, max_rows=10)


def _values():
    Positions(keras_modals.Values())


def _other_axis():
    LatentAugmentation(3, axis=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_pooled, "act at each position with a label"),
        (
            _other_positions,
            "'few', the positions of the latents differ.*12 positions, 24 labels",
        ),
        (_balanced, "Use `partners='any'`"),
        (_pooled_output, "no axis of positions"),
        (_one_label, r"shape \(batch, positions\).*shape \(12,\)"),
        (_out_of_range, r"must be in \[0, 3\)"),
        (_sample_rows, "`max_rows` applies only"),
        (_values, "`keras_modals.MultiLabels`"),
        (_other_axis, "Expected `axis=-1`"),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_search_in_one_training_and_the_monitor_are_refused(rng):
    model = keras_modals.augment(tagger())
    with pytest.raises(ValueError, match="search with `PopulationBasedTuner`"):
        keras_modals.SharedEncoderSearch(model, 2)
    x, y, _ = sentences(rng)
    with pytest.raises(ValueError, match="one class for each sample"):
        keras_modals.evaluation.LatentMonitor(x, y).set_model(model)


# Found in a second review -----------------------------------------------------------


def test_a_loss_without_values_of_positions_leaves_no_hardness(rng):
    model = unet()
    model.compile(keras.optimizers.SGD(0.0), keras.losses.Dice(), **EAGER)
    policy = Policy.single("hard_interpolation", 0.5)
    model = keras_modals.augment(model, "last", policy=policy, seed=0)
    x = rng.normal(size=(4, 8, 8, 2)).astype("float32")
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, (4, 8, 8))]
    for _ in range(2):
        model.train_on_batch(x, y)
    assert not array(model.latent_augmentation.memory.hardness).any()


def test_triplets_of_several_labels_at_each_position(rng):
    x, _, present = sentences(rng)
    y = (rng.uniform(size=(ROWS, TIME, TAGS)) < 0.5).astype("float32")
    loss = "binary_crossentropy"
    model = keras_modals.augment(
        tagger(loss=loss, activation="sigmoid"), "rnn", policy=STILL, seed=0
    )
    selector = TripletSelector(2.0, "all", multi_label=True)
    term = keras_modals.Triplets(0.1, selector)
    model.compile(keras.optimizers.SGD(0.0), loss, terms=[term], **EAGER)
    logs = model.train_on_batch(x, y, return_dict=True)
    expected = float(selector(y[present], latents_of(model, x)[present]))
    assert expected > 0.1
    np.testing.assert_allclose(float(logs["triplet_loss"]), expected, rtol=1e-4)


@pytest.mark.parametrize("length", [3, TIME])
def test_a_decoder_has_positions_of_its_own(length, rng):
    """Mixing before the decoder mixes whole samples, with all their targets."""
    x, _, _ = sentences(rng)
    y = rng.integers(0, TAGS, (ROWS, length))
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            L.Embedding(WORDS, 6, mask_zero=True, name="words"),
            L.SimpleRNN(4, name="encoder"),
            L.RepeatVector(length),
            L.SimpleRNN(4, return_sequences=True),
            L.Dense(TAGS, "softmax"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, **EAGER)
    model = keras_modals.augment(
        model, "encoder", policy=MIXING, seed=0, warmup_steps=0
    )
    logs, scope, outputs = step_of(model, x, y)
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    valid = np.ones((ROWS, length), bool)
    expected = loss_by_loops(outputs, y, valid, partner, share)
    np.testing.assert_allclose(float(logs["loss"]), expected, rtol=2e-5)


def test_by_hand_masked_positions_keep_their_labels():
    layer = LatentAugmentation(2, Policy({"class_mixing": (1.0, 1.0)}), axis=-1, seed=0)
    latents = np.stack([np.zeros((2, 1)), np.ones((2, 1))]).astype("float32")
    data = {"latents": latents, "labels": tensor([[0, 0], [1, 1]], "int32")}
    mask = {"latents": tensor([[True, True], [True, False]], "bool"), "labels": None}
    moved = layer(data, training=True, mask=mask)
    found, labels = array(moved["latents"]), array(moved["labels"])
    np.testing.assert_allclose(labels[:, 0, 1], found[:, 0, 0], rtol=1e-6)
    assert 0 < labels[0, 0, 1] < 1
    assert found[:, 1, 0].tolist() == labels[:, 1, 1].tolist() == [0.0, 1.0]


def test_one_hot_rows_of_whole_numbers_are_refused(rng):
    model = keras_modals.augment(tagger())
    y = np.eye(TAGS, dtype="uint8")[rng.integers(0, TAGS, (ROWS, TIME))]
    with pytest.raises(ValueError, match="must be floats"):
        model.fit(np.ones((ROWS, TIME), int), y, verbose=0)


def _sum_of_squares(y, outputs):
    return keras.ops.sum(keras.ops.square(y - outputs), axis=-1)


@pytest.mark.parametrize("loss", ["binary_crossentropy", _sum_of_squares])
@pytest.mark.parametrize("batch_size", [8, 16])
def test_targets_may_lack_the_axis_of_one_channel(batch_size, loss):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 2)).astype("float32")
    y = (x[..., 0] > 0).astype("float32")

    def build():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 2)),
                keras.layers.Conv1D(4, 3, padding="same"),
                keras.layers.Dense(1, "sigmoid"),
            ]
        )
        model.compile(keras.optimizers.SGD(0.0), loss, weighted_metrics=["mse"])
        return model

    def trained(model, y):
        return model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0).history

    still = keras_modals.Policy({"class_mixing": (1.0, 0.0)})
    moved = keras_modals.Policy({"class_mixing": (1.0, 0.5)})
    for targets in (y, y[..., None]):
        wanted = trained(build(), targets)
        found = trained(keras_modals.augment(build(), policy=still), targets)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5)
    mixed = [
        trained(keras_modals.augment(build(), policy=moved, seed=0), targets)["loss"][0]
        for targets in (y, y[..., None])
    ]
    # A sum over the last axis has another value for each shape, as in Keras.
    factor = 8.0 if loss is _sum_of_squares else 1.0
    np.testing.assert_allclose(mixed[0], factor * mixed[1], rtol=1e-5)
    if loss is _sum_of_squares:
        return

    # Samples without a label count in no loss.
    unlabeled = np.where(np.arange(64)[:, None] % 2, y, np.nan)
    wanted = build().evaluate(x[1::2], y[1::2], verbose=0, return_dict=True)
    for targets in (unlabeled, unlabeled[..., None]):
        model = keras_modals.augment(
            build(), policy=keras_modals.Policy.zero(repeats=1)
        )
        settings = {**model.get_compile_config(), "consistency_weight": 1.0}
        model.compile_from_config(settings)
        logs = trained(model, targets)
        np.testing.assert_allclose(logs["loss"], wanted["loss"], rtol=1e-5)
        np.testing.assert_allclose(logs["mse"], wanted["mse"], rtol=1e-5)
