"""Several `LatentAugmentation` layers in one model: a step mixes at one of them."""

import keras
import numpy as np
import pytest
from keras import ops
from portable import BACKEND, array, compiled, gradients, tensor

import keras_modals
from keras_modals import LatentAugmentation, ModalsModel, Policy
from keras_modals._src.labels import IGNORED, BatchLabels, Classes, of_groups
from keras_modals._src.layers.mixed_mask import MixedMask
from keras_modals._src.layers.partners import draw_partners
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.rows import RowMap
from keras_modals.operations import ClassMixing

layers = keras.layers

NUM_CLASSES, FEATURES, BATCH = 3, 8, 12

MIXING = Policy({"class_mixing": (0.5, 0.8)})


def mixing(name, policy=MIXING, **arguments):
    return LatentAugmentation(NUM_CLASSES, policy, name=name, seed=0, **arguments)


def dense(name, units=8):
    return layers.Dense(units, "tanh", name=name)


def head(tensor):
    return layers.Dense(NUM_CLASSES, "softmax", name="head")(tensor)


def chain():
    inputs = keras.Input((FEATURES,))
    hidden = dense("one")(mixing("input")(inputs))
    hidden = dense("two")(mixing("middle")(hidden))
    return inputs, head(mixing("last")(hidden))


def residual():
    inputs = keras.Input((FEATURES,))
    start = mixing("input")(inputs)
    hidden = layers.Add()([dense("one")(start), start])
    start = mixing("middle")(hidden)
    hidden = layers.Add()([dense("two")(dense("three")(start)), start])
    return inputs, head(mixing("last")(hidden))


def operations_without_layers():
    inputs = keras.Input((FEATURES,))
    start = mixing("input")(inputs)
    hidden = mixing("middle")(start + dense("one")(start))
    return inputs, head(mixing("last")(ops.squeeze(hidden[:, None], 1)))


def nested():
    inner_inputs = keras.Input((FEATURES,))
    inner = dense("two")(mixing("inner")(dense("one")(inner_inputs)))
    inner = keras.Model(inner_inputs, inner, name="encoder")
    inputs = keras.Input((FEATURES,))
    return inputs, head(mixing("last")(inner(mixing("input")(inputs))))


def branches():
    """Returns a graph with two inputs. One has one more place than the other, but never
    mixes alone."""
    left, right = keras.Input((FEATURES,)), keras.Input((4,))
    start = dense("one")(mixing("left")(left))
    start = dense("two")(mixing("left_deep")(start))
    other = dense("three")(mixing("right")(right))
    both = layers.Concatenate()([start, other])
    return [left, right], head(mixing("last")(dense("four")(both)))


GRAPHS = [chain, residual, operations_without_layers, nested, branches]

#: The layers of `branches` that mix at each level.
LEVELS = [("left", "right"), ("left_deep", "right"), ("last",)]


def data(rng, inputs):
    x = [
        rng.normal(size=(BATCH, *tensor.shape[1:])).astype("float32")
        for tensor in keras.tree.flatten(inputs)
    ]
    y = rng.integers(0, NUM_CLASSES, BATCH).astype("int32")
    return x if len(x) > 1 else x[0], y


class _Mixed(layers.Layer):
    def __init__(self, partner, share):
        super().__init__()
        self.partner, self.share = partner, share

    def call(self, latents):
        others = ops.take(latents, tensor(self.partner, "int32"), axis=0)
        share = tensor(self.share.reshape(-1, *[1] * (len(latents.shape) - 1)))
        return latents + share * (others - latents)

    def compute_output_spec(self, latents):
        return keras.KerasTensor(latents.shape, latents.dtype)


def levels_of(graph, model):
    if graph is branches:
        return LEVELS
    return [(layer.name,) for layer in model.latent_augmentations]


def each_level(model, x, y):
    """Yields level, partners, shares and outputs of a step for each of three levels."""
    seen = set()
    for _ in range(60):
        with model.step_scope(of_groups(tensor(y, "int32"))) as scope:
            outputs = array(model(x, training=True))
        level = int(scope.mixing.level)
        if level not in seen:
            seen.add(level)
            yield level, array(scope.rows.partner), array(scope.rows.share), outputs
        if len(seen) == 3:
            return
    pytest.fail(f"of three levels {seen} were drawn")


@pytest.mark.backend
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_step_mixes_at_the_depth_drawn(graph, rng):
    """Compares with the plain graph with rows mixed there, for every depth."""
    model = ModalsModel(*graph(), num_views=1)
    x, y = data(rng, model.inputs)
    for level, partner, share, outputs in each_level(model, x, y):
        assert 0 < np.sum(share > 0) < BATCH
        assert share.max() <= 0.8
        assert np.all(partner[share > 0] != np.arange(BATCH)[share > 0])
        at = levels_of(graph, model)[level]
        expected = array(mixed_by_hand(model, at, partner, share)(x))
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def mixed_by_hand(model, at, partner, share):
    """Returns a plain model of the same layers that mixes rows at the named layers."""

    def call(layer, *args, **kwargs):
        if isinstance(layer, LatentAugmentation):
            return _Mixed(partner, share)(args[0]) if layer.name in at else args[0]
        if layer.name == "encoder":
            return rebuilt(layer)(*args)
        return layer(*args, **kwargs)

    def rebuilt(graph):
        return keras.models.clone_model(
            keras.Model(graph.input, graph.output),
            clone_function=lambda layer: layer,
            call_function=call,
        )

    return rebuilt(model)


def test_each_depth_is_drawn_as_often():
    leaders = chain_leaders()
    seed = keras.random.SeedGenerator(0)
    groups, rows = tensor([0, 1], "int32"), RowMap(2)

    def level():
        return ops.convert_to_tensor(
            StepMixing(leaders, of_groups(groups), rows, seed).level, "int32"
        )

    draw = compiled(level, [seed.state])
    size = 10_000
    counts = np.bincount([int(array(draw())) for _ in range(size)], minlength=3)
    # Within 4 standard errors.
    assert np.abs(counts / size - 1 / 3).max() < 4 * np.sqrt(2 / 9 / size)


def chain_leaders():
    return ModalsModel(*chain(), num_views=1)._arrangement.leaders


@pytest.mark.backend
@pytest.mark.parametrize("graph", GRAPHS)
def test_it_trains_and_is_the_plain_model_at_inference(graph, rng, tmp_path):
    model = ModalsModel(*graph(), num_views=1)
    model.compile("adam", "sparse_categorical_crossentropy", triplet_weight=0.1)
    x, y = data(rng, model.inputs)
    x = keras.tree.map_structure(lambda a: np.tile(a, (8, 1)), x)
    y = np.tile(y, 8)
    history = model.fit(x, y, epochs=20, batch_size=24, verbose=0).history["loss"]
    assert history[-1] < history[0]
    predictions = model.predict(x, verbose=0)
    plain = mixed_by_hand(model, (), None, None)
    np.testing.assert_allclose(plain.predict(x, verbose=0), predictions, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), predictions, atol=1e-6)
    # Both continue training identically.
    logs = [
        each.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(*logs, rtol=1e-5)


@pytest.mark.backend
def test_what_moves_nothing_changes_no_number(rng):
    """Compares several layers that never mix with the plain model."""
    still = Policy({"class_mixing": (0.0, 0.0)})
    model = ModalsModel(*chain(), num_views=1)
    for layer in model.latent_augmentations:
        layer.policy = still
    plain = mixed_by_hand(model, (), None, None)
    plain = keras.models.clone_model(plain)
    plain.set_weights([array(v) for v in mixed_by_hand(model, (), None, None).weights])
    x, y = data(rng, model.inputs)
    logs = []
    for each in (model, plain):
        each.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        logs.append(each.fit(x, y, epochs=5, batch_size=5, shuffle=False, verbose=0))
    for name, values in logs[1].history.items():
        np.testing.assert_allclose(logs[0].history[name], values, rtol=1e-5)


@pytest.mark.backend
def test_gradients_reach_what_lies_before_the_place(rng):
    """Those of a mixed row reach the inputs of both samples, by their shares."""
    inputs = keras.Input((FEATURES,))
    outputs = layers.Dense(NUM_CLASSES, use_bias=False)(mixing("only")(inputs))
    model = ModalsModel(inputs, outputs, num_views=1)
    x, y = data(rng, inputs)
    upstream = rng.normal(size=(BATCH, NUM_CLASSES)).astype("float32")
    seed = model.latent_augmentation.seed_generator.state
    state = array(seed)

    def total(points):
        seed.assign(state)
        with model.step_scope(of_groups(tensor(y, "int32"))):
            return ops.sum(model(points, training=True) * tensor(upstream))

    seed.assign(state)
    with model.step_scope(of_groups(tensor(y, "int32"))) as scope:
        pass
    partner, share = array(scope.rows.partner), array(scope.rows.share)
    if BACKEND == "jax":
        with keras.StatelessScope([(seed, tensor(state, seed.dtype))]):
            _, (found,) = gradients(total, x)
    else:
        _, (found,) = gradients(total, x)
    kernel = model.layers[-1].get_weights()[0]
    own = upstream @ kernel.T
    expected = (1 - share)[:, None] * own
    np.add.at(expected, partner, share[:, None] * own)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# What terms and memory see ------------------------------------------------------------


@pytest.mark.backend
def test_terms_see_the_rows_that_stayed_clean(rng):
    """Terms see rows at the last place before mixing, without those mixed earlier."""
    model = ModalsModel(*chain(), num_views=1)
    x, y = data(rng, model.inputs)
    plain = mixed_by_hand(model, (), None, None)
    *encoder, _ = plain.layers
    encoder = keras.Sequential([plain.input, *encoder[1:]])
    for _ in range(20):
        with model.step_scope(of_groups(tensor(y, "int32"))) as scope:
            model(x, training=True)
        latents, labels, weights, _ = scope.recorded(
            model.latent_augmentation, scope.labels.groups
        )
        mixed = (array(scope.rows.share) > 0) & (int(scope.mixing.level) < 2)
        np.testing.assert_array_equal(array(labels), np.where(mixed, IGNORED, y))
        np.testing.assert_array_equal(array(weights), 1.0 - mixed)
        expected = array(encoder(x))[~mixed]
        np.testing.assert_allclose(array(latents)[~mixed], expected, atol=1e-6)


def test_with_a_clean_view_terms_see_all(rng):
    model = ModalsModel(*chain(), num_views=2)
    x, y = data(rng, model.inputs)
    for _ in range(5):
        with model.step_scope(of_groups(tensor(y, "int32"))) as scope:
            outputs = array(model(x, training=True))
        latents, labels, weights, _ = scope.recorded(
            model.latent_augmentation, scope.labels.groups
        )
        assert weights is None
        np.testing.assert_array_equal(array(labels), y)
        assert latents.shape == (BATCH, 8)
        plain = array(mixed_by_hand(model, (), None, None)(x))
        np.testing.assert_allclose(outputs[:BATCH], plain, atol=1e-6)
        moved = np.any(np.abs(outputs[BATCH:] - plain) > 1e-6, axis=1)
        np.testing.assert_array_equal(moved, array(scope.rows.share)[BATCH:] > 0)


def test_a_memory_holds_no_latent_that_was_mixed_before(rng):
    inputs = keras.Input((FEATURES,))
    hidden = dense("one")(mixing("input", Policy({"class_mixing": (0.5, 0.5)}))(inputs))
    moves = Policy({"gaussian_noise": (1.0, 0.5)}, operation_counts=(0, 1))
    model = ModalsModel(inputs, head(mixing("moves", moves)(hidden)), num_views=1)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = data(rng, inputs)
    model.train_on_batch(x, y)
    memory = model.latent_augmentation.memory
    clean = array(model.get_layer("one")(x))
    held = 0
    for label in range(NUM_CLASSES):
        count = int(array(memory.counts(tensor([label], "int32")))[0])
        held += count
        for slot in range(count):
            slots = tensor([label], "int32"), tensor([slot], "int32")
            latent = array(memory.take_latents(*slots))[0]
            distance = np.abs(clean[y == label] - latent).max(1)
            assert distance.min() < 1e-5
    assert 0 < held < BATCH


# Masks ----------------------------------------------------------------------------

LENGTH = 6


def tokens(rng, inputs=None):
    x = rng.integers(1, 20, (BATCH, LENGTH)).astype("int32")
    lengths = rng.integers(1, LENGTH + 1, BATCH)
    x[np.arange(LENGTH) >= lengths[:, None]] = 0
    return x, rng.integers(0, NUM_CLASSES, BATCH).astype("int32")


def recurrent():
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(20, 4, mask_zero=True)(inputs)
    hidden = layers.LSTM(4, return_sequences=True)(mixing("first")(hidden))
    return inputs, head(mixing("last")(layers.LSTM(4)(mixing("middle")(hidden))))


def attention():
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(20, 4, mask_zero=True)(inputs)
    hidden = mixing("first")(hidden)
    hidden = hidden + layers.MultiHeadAttention(2, 4)(hidden, hidden)
    hidden = layers.GlobalAveragePooling1D()(mixing("middle")(hidden))
    return inputs, head(mixing("last")(hidden))


def masked_signal():
    inputs = keras.Input((LENGTH, 4))
    hidden = mixing("first")(layers.Masking()(inputs))
    hidden = layers.GRU(4, return_sequences=True)(hidden)
    return inputs, head(mixing("last")(layers.GRU(4)(mixing("middle")(hidden))))


def signals(rng, inputs=None):
    x, y = tokens(rng)
    return rng.normal(size=(BATCH, LENGTH, 4)).astype("float32") * (x > 0)[..., None], y


@pytest.mark.backend
@pytest.mark.parametrize(
    ("graph", "make"),
    [(recurrent, tokens), (attention, tokens), (masked_signal, signals)],
)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_mixed_sequences_have_the_positions_of_both(graph, make, rebuilt, rng):
    """Compares with layers that receive explicit masks, for every depth."""
    model = ModalsModel(*graph(), num_views=1)
    if rebuilt:
        config, weights = model.get_config(), model.get_weights()
        model = ModalsModel.from_config(config)
        model.set_weights(weights)
    x, y = make(rng)
    own = x > 0 if x.ndim == 2 else np.any(x != 0, axis=-1)
    for level, partner, share, outputs in each_level(model, x, y):
        expected = with_masks(model, x, own, level, partner, share)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def with_masks(model, x, own, level, partner, share):
    """Calls the model's layers in order, with masks computed in NumPy."""
    places = [layer.name for layer in model.latent_augmentations]
    hidden, mask = x, own
    for layer in model.layers[1:]:
        if layer.name in places:
            if places.index(layer.name) == level:
                hidden = array(_Mixed(partner, share)(tensor(hidden)))
                mask = np.where(share[:, None] > 0, mask | mask[partner], mask)
        elif isinstance(layer, (layers.LSTM, layers.GRU)):
            hidden = array(layer(tensor(hidden), mask=tensor(mask, "bool")))
        elif isinstance(layer, layers.MultiHeadAttention):
            both = mask[:, None, :] & mask[:, :, None]
            moved = layer(
                tensor(hidden), tensor(hidden), attention_mask=tensor(both, "bool")
            )
            hidden = hidden + array(moved)
        elif not isinstance(layer, MixedMask):
            # There is no mask after an operation of `keras.ops`.
            hidden = array(layer(ops.convert_to_tensor(hidden)))
    return hidden


@pytest.mark.parametrize("graph", [recurrent, attention, residual])
def test_the_inference_model_has_nothing_of_ours(graph, rng):
    model = ModalsModel(*graph())
    plain = model.inference_model()
    assert all(type(each).__module__.startswith("keras.") for each in plain.layers)
    x, _ = data(rng, model.inputs) if graph is residual else tokens(rng)
    np.testing.assert_allclose(array(plain(x)), array(model(x)), atol=1e-6)


def test_augment_puts_masks_past_its_layers(rng):
    """The graph equals one written by hand."""
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(20, 4, mask_zero=True)(inputs)
    hidden = layers.LSTM(4, return_sequences=True)(hidden)
    plain = keras.Model(inputs, head(layers.LSTM(4)(hidden)))
    model = keras_modals.augment(
        plain, policy=Policy({"class_mixing": (0.5, 0.8)}), seed=0, warmup_steps=0
    )
    x, y = tokens(rng)
    for level, partner, share, outputs in each_level(model, x, y):
        expected = with_masks(model, x, x > 0, level, partner, share)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


# Partners -------------------------------------------------------------------------


@pytest.mark.backend
def test_balanced_partners_are_of_each_class_alike(rng):
    """Checks the frequencies of partners for every row, within 4.5 standard errors."""
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 3, -1, -1], "int32")
    size, batch = 4000, len(groups)
    samples = np.tile(np.arange(batch), size).astype("int32")
    uniform = rng.uniform(size=(size * batch, 2)).astype("float32")
    partner = array(
        draw_partners(
            ClassMixing(partners="balanced"),
            tensor(uniform),
            tensor(samples, "int32"),
            of_groups(tensor(groups, "int32")),
            Classes(4),
        )
    ).reshape(size, batch)
    for sample in range(8):
        classes = [0, 1, 3] if sample != 7 else [0, 1]
        expected = np.zeros(batch)
        for group in classes:
            members = [i for i in np.flatnonzero(groups == group) if i != sample]
            expected[members] = 1 / len(classes) / len(members)
        counts = np.bincount(partner[:, sample], minlength=batch)
        errors = np.sqrt(size * expected * (1 - expected))
        assert np.all(np.abs(counts - size * expected) <= 4.5 * errors), sample


@pytest.mark.parametrize("kind", ["any", "balanced", "near"])
@pytest.mark.parametrize("groups", [[0], [2, -1], [-1, -1], [1, 1]])
def test_few_samples_have_partners_in_the_batch(kind, groups, rng):
    groups = tensor(groups, "int32")
    labels = BatchLabels(groups, groups, groups, groups)
    uniform = tensor(rng.uniform(size=(len(groups), 2)))
    samples = ops.arange(len(groups), dtype="int32")
    operation = ClassMixing(partners=kind)
    partner = array(draw_partners(operation, uniform, samples, labels, Classes(4)))
    assert np.all((partner >= 0) & (partner < len(groups)))
    if np.all(array(groups) >= 0) and len(groups) > 1:
        np.testing.assert_array_equal(partner, [1, 0])


def test_a_batch_of_one_is_left_alone():
    model = ModalsModel(*chain(), num_views=1)
    x = np.ones((1, FEATURES), "float32")
    for _ in range(5):
        with model.step_scope(of_groups(tensor([0], "int32"))) as scope:
            outputs = array(model(x, training=True))
        assert array(scope.rows.share) == 0
        np.testing.assert_allclose(outputs, array(model(x)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.backend
def test_a_batch_of_one_in_arrays_has_the_plain_model_s_loss():
    model = ModalsModel(*chain(), num_views=1)
    model.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
    x, y = np.ones((1, FEATURES), "float32"), np.eye(NUM_CLASSES)[:1]
    loss = model.train_on_batch(x, y, sample_weight=np.ones(1))
    np.testing.assert_allclose(loss, -np.log(array(model(x))[0, 0]), rtol=1e-5)


# Errors ---------------------------------------------------------------------------


def _half_mixed():
    left, right = keras.Input((4,)), keras.Input((4,))
    both = layers.Concatenate(name="meeting")([mixing("left")(left), right])
    return [left, right], head(both)


def _inside_a_block():
    inputs = keras.Input((FEATURES,))
    both = layers.Add(name="meeting")([mixing("inside")(dense("one")(inputs)), inputs])
    return inputs, head(both)


def _shared():
    first, second = keras.Input((4,)), keras.Input((4,))
    layer = mixing("both")
    return [first, second], head(layers.Concatenate()([layer(first), layer(second)]))


def _shared_model():
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, dense("one")(mixing("both")(inner_inputs)))
    first, second = keras.Input((4,)), keras.Input((4,))
    return [first, second], head(layers.Concatenate()([inner(first), inner(second)]))


def _other_classes():
    inputs = keras.Input((4,))
    hidden = LatentAugmentation(2, MIXING)(inputs)
    return inputs, head(mixing("last")(hidden))


def _other_partners():
    inputs = keras.Input((4,))
    balanced = ClassMixing(partners="balanced")
    hidden = mixing("first", Policy({balanced: (0.5, 0.5)}))(inputs)
    return inputs, head(mixing("last")(hidden))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (_half_mixed, r"bypasses the layers \['left'\].*meets them in 'meeting'"),
        (_inside_a_block, r"bypasses the layers \['inside'\].*'meeting'"),
        (_shared, r"used once.*Received: \['both'\]"),
        (_shared_model, r"used once.*Received: \['both'\]"),
        (_other_classes, r"one `labels`.*num_classes=2.*num_classes=3"),
        (_other_partners, r"one `partners`.*\('any', 1.0\), \('balanced', 1.0\)"),
    ],
)
def test_refuses(graph, message):
    with pytest.raises(ValueError, match=message):
        ModalsModel(*graph(), num_views=1)


def test_with_a_clean_view_one_layer_keeps_labels():
    moves = Policy({"gaussian_noise": (0.5, 0.5)})
    inputs = keras.Input((4,))
    outputs = head(mixing("last", moves)(mixing("first", moves)(inputs)))
    with pytest.raises(ValueError, match=r"use `num_views=1`.*\['first', 'last'\]"):
        ModalsModel(inputs, outputs, num_views=2)
    ModalsModel(inputs, outputs, num_views=1)


class AsAtInference(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = mixing("inner")

    def call(self, inputs):
        return self.inner(inputs, training=False)


def test_a_layer_that_does_not_run_is_said(rng):
    """Labels would be mixed, but latents would not."""
    inputs = keras.Input((FEATURES,))
    model = ModalsModel(inputs, head(mixing("last")(AsAtInference()(inputs))))
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"`training=False`.*\['inner'\]"):
        model.train_on_batch(*data(rng, inputs))
