import keras
import numpy as np
import pytest
from portable import tensorflow_only
from problems import FEATURES, NUM_CLASSES, compile_, make_data, plain_model

import keras_modals
from keras_modals import ModalsModel, Policy, augment


def sequential():
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu", name="hidden"),
            keras.layers.Dense(6, name="latents"),
            keras.layers.Dense(NUM_CLASSES, name="head"),
            keras.layers.Softmax(name="softmax"),
        ]
    )


@pytest.mark.parametrize("build", [plain_model, sequential])
@pytest.mark.parametrize(
    ("layer", "after"),
    [("head", "latents"), ("latents", "latents"), ("hidden", "hidden")],
)
def test_inserts_and_keeps_weights(build, layer, after, rng):
    x, y = make_data(rng)
    model = compile_(build())
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    expected = model.predict(x, verbose=0)
    policy = Policy.zero()
    augmented = augment(model, layer, policy=policy, memory_size=7)
    assert isinstance(augmented, ModalsModel)
    names = [layer.name for layer in augmented.layers]
    added = augmented.latent_augmentation
    assert names.index(added.name) == names.index(after) + 1
    assert added.num_classes == NUM_CLASSES
    assert added.memory_size == 7
    np.testing.assert_array_equal(augmented.predict(x, verbose=0), expected)
    # Each layer has only one place in the graph.
    keras.Model(augmented.input, augmented.get_layer("latents").output)
    augmented.fit(x, y, verbose=0)
    # The original is unchanged.
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_compiles_as_the_original():
    model = compile_(plain_model(), keras.optimizers.SGD(0.123, momentum=0.7))
    augmented = augment(model)
    assert augmented.compiled
    assert augmented.optimizer is not model.optimizer
    config = augmented.optimizer.get_config()
    np.testing.assert_allclose(
        [config["learning_rate"], config["momentum"]], [0.123, 0.7]
    )
    assert augmented.loss == "sparse_categorical_crossentropy"
    assert not augment(plain_model()).compiled


def test_a_layer_by_name_index_or_itself():
    model = plain_model()
    places = ["latents", 2, -2, model.get_layer("latents")]
    for place in places:
        names = [layer.name for layer in augment(model, place).layers]
        after = names[names.index("latents") + 1]
        assert after.startswith("latent_augmentation")
    foreign = keras.layers.Dense(3, name="latents")
    for place in ("missing", 4, -5, True, None, foreign):
        with pytest.raises(ValueError, match="a name, an index"):
            augment(model, place)


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {}


class Largest(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(keras.ops.max(y_pred, axis=-1))


def certainty(y_true, y_pred):
    return keras.ops.max(y_pred, axis=-1)


@pytest.mark.backend
def test_metrics_and_schedules_of_the_users_own(rng):
    """They are not registered, as in a user's script. Logs equal the plain model's."""
    x, y = make_data(rng)
    histories = []
    for turn in (lambda model: model, still):
        keras.utils.set_random_seed(0)
        model = plain_model()
        model.compile(
            keras.optimizers.SGD(Halving()),
            "sparse_categorical_crossentropy",
            metrics=[certainty, Largest(name="largest")],
            weighted_metrics=[certainty],
        )
        model = turn(model)
        histories.append(model.fit(x, y, epochs=2, shuffle=False, verbose=0).history)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5, err_msg=name)


def still(model):
    return augment(model, policy=Policy.zero(repeats=1), num_views=1)


def test_settings_that_cannot_be_copied(rng):
    def certainty(y_true, y_pred):
        return keras.ops.mean(y_pred)

    model = plain_model()
    metrics = [globals()["certainty"], certainty]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
    with pytest.warns(UserWarning, match="call `compile` on it"):
        augmented = augment(model)
    assert not augmented.compiled


def test_inputs_keep_their_names(rng):
    x, y = make_data(rng)
    inputs = {name: keras.Input((4,), name=name) for name in ("first", "second")}
    hidden = keras.layers.Concatenate()(list(inputs.values()))
    hidden = keras.layers.Dense(6, "relu")(hidden)
    outputs = {"kind": keras.layers.Dense(NUM_CLASSES, "softmax", name="k")(hidden)}
    augmented = augment(keras.Model(inputs, outputs), policy=Policy.constant(0.5, 0.5))
    compile_(augmented)
    named = {"first": x[:, :4], "second": x[:, 4:]}
    augmented.fit(named, {"kind": y}, verbose=0)
    assert set(augmented.predict(named, verbose=0)) == {"kind"}


def test_seeds_and_statistics_of_layers_are_kept(rng):
    inputs = keras.Input((8,))
    hidden = keras.layers.BatchNormalization(name="norm")(inputs)
    hidden = keras.layers.Dropout(0.5, seed=3, name="dropout")(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    model = compile_(keras.Model(inputs, outputs))
    x, y = make_data(rng)
    model.fit(x, y, epochs=2, verbose=0)
    augmented = augment(model)
    for name in ("norm", "dropout"):
        for old, new in zip(
            model.get_layer(name).variables,
            augmented.get_layer(name).variables,
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)


@tensorflow_only
def test_what_layers_keep_beside_weights_is_copied(rng):
    """Checks adapted statistics and vocabularies in the copy, and in its copy."""
    x, _ = make_data(rng)
    words = np.array(["a", "b", "c", "b"] * 24)
    normalization, lookup = keras.layers.Normalization(), keras.layers.StringLookup()
    normalization.adapt(3 * x + 5)
    lookup.adapt(words)
    inputs = {
        "numbers": keras.Input((8,), name="numbers"),
        "word": keras.Input((1,), name="word", dtype="string"),
    }
    embedded = keras.layers.Embedding(4, 3)(lookup(inputs["word"]))
    hidden = keras.layers.Concatenate()(
        [normalization(inputs["numbers"]), keras.layers.Flatten()(embedded)]
    )
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    model = keras.Model(inputs, outputs)
    import tensorflow as tf

    data = {"numbers": tf.constant(x), "word": tf.constant(words[:, None])}
    expected = model.predict(data, verbose=0)
    augmented = augment(model)
    for copy in (augmented, augmented.inference_model()):
        np.testing.assert_allclose(copy.predict(data, verbose=0), expected, rtol=1e-6)


def test_refuses_a_training_step_of_its_own():
    class Custom(keras.Model):
        def train_step(self, data):
            return {}

    inputs = keras.Input((8,))
    with pytest.raises(ValueError, match="`Custom` overrides: train_step"):
        augment(Custom(inputs, keras.layers.Dense(3)(inputs)))


def test_several_outputs_need_a_name():
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(6, "relu", name="hidden")(inputs)
    kind = keras.layers.Dense(NUM_CLASSES, "softmax", name="kind")(hidden)
    size = keras.layers.Dense(1, name="size")(hidden)
    model = keras.Model(inputs, [size, kind])
    with pytest.raises(ValueError, match="several outputs"):
        augment(model, num_classes=3)
    augmented = augment(model, label_output="kind")
    assert augmented.latent_augmentation.num_classes == NUM_CLASSES
    assert augmented.output_map.augmented == ["kind"]
    assert augment(model, "hidden", label_output="kind").output_map.augmented == [
        "size",
        "kind",
    ]


def test_refuses(rng):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="subclassed model"):
        augment(Subclassed())
    with pytest.raises(ValueError, match="Sequential model needs an"):
        augment(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match=r"'hidden', 'latents', 'head'\].*'z'"):
        augment(plain_model(), "z")
    with pytest.raises(ValueError, match="already"):
        augment(augment(plain_model()))
    inputs = keras.Input((8, 4))
    sequence = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match="a label for each position"):
        augment(sequence, num_classes=3)
    inputs = keras.Input((8,))
    with pytest.raises(ValueError, match="no layer with weights"):
        augment(keras.Model(inputs, keras.layers.Softmax()(inputs)))
    head = sequential()
    inputs = keras.Input((8,))
    with pytest.raises(ValueError, match="is a model"):
        augment(keras.Model(inputs, head(inputs)))
    shared = keras.layers.Dense(8, name="shared")
    twice = keras.Model(inputs, shared(shared(inputs)))
    with pytest.raises(ValueError, match="used several times"):
        augment(twice)
    with pytest.raises(ValueError, match="num_views=0"):
        augment(plain_model(), num_views=0)
    with pytest.raises(ValueError, match="nothing is augmented"):
        augment(plain_model(), num_views=1, clean_view=True)
    for arguments, message in (
        ({"layer": -1}, "No layer follows `layer`.*layer=-1"),
        ({"layer": ["latents", "head"]}, "No layer follows `layer`"),
        ({"dropout": 1.0}, r"float in \[0, 1\).*dropout=1.0"),
        ({"seed": "a"}, "integer of at least 0.*seed='a'"),
        ({"gradient_to_encoder": "no"}, "Expected a boolean.*encoder='no'"),
        ({"num_views": 2, "clean_view": "no"}, "Expected a boolean.*view='no'"),
    ):
        with pytest.raises(ValueError, match=message):
            augment(plain_model(), **arguments)
    # Between logits and softmax, moved latents train nothing next to a clean view.
    noise = {"layer": 2, "policy": Policy.single("gaussian_noise", 0.3)}
    with pytest.raises(ValueError, match=r"none of these has weights.*\['latent_augm"):
        augment(sequential(), **noise, num_views=2)
    for arguments in ({}, {"num_views": 2, "gradient_to_encoder": True}):
        augment(sequential(), **noise, **arguments)


# State that no config includes ----------------------------------------------------


@pytest.mark.parametrize("way", ["var_names", "var_list"])
def test_what_is_excluded_from_weight_decay_stays_so(way, rng):
    x, y = make_data(rng)
    model = plain_model()
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.5)
    head = model.get_layer("head")
    excluded = {"var_names": ["bias"], "var_list": [head.kernel, head.bias]}[way]
    optimizer.exclude_from_weight_decay(**{way: excluded})
    compile_(model, optimizer)
    zero = keras_modals.Policy.zero(repeats=1)
    augmented = keras_modals.augment(model, policy=zero, num_views=1)
    for each in (model, augmented):
        each.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    for name in ("hidden", "latents", "head"):
        for weights in zip(
            *(m.get_layer(name).get_weights() for m in (model, augmented))
        ):
            np.testing.assert_allclose(*weights, rtol=1e-5)


def test_own_losses_and_optimizers_are_handed_on(rng):
    class Slow(keras.optimizers.SGD):
        pass

    def loss(y, p):
        return 2.0 * keras.losses.sparse_categorical_crossentropy(y, p)

    model = compile_(plain_model(), Slow(0.01), loss=loss)
    augmented = keras_modals.augment(model)
    assert augmented.loss is loss
    assert type(augmented.optimizer) is Slow
    assert augmented.optimizer is not model.optimizer


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_in_half_precision_it_is_the_identity_at_inference(policy, rng):
    x = (300 * rng.normal(size=(16, FEATURES))).astype("float32")
    model = plain_model()
    keras.config.set_dtype_policy(policy)
    try:
        augmented = keras_modals.augment(model)
        inputs = keras.Input((FEATURES,))
        outputs = keras_modals.LatentAugmentation(2)(inputs)
        assert outputs.dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(augmented.predict(x, verbose=0), expected)
    assert augmented.dtype_policy == model.dtype_policy


@pytest.mark.filterwarnings("ignore:Layer 'flatten' .* was passed an input with a mask")
def test_masks_have_the_rows_of_all_views(rng):
    """Attention after the layer finds its mask automatically."""
    tokens, labels = rng.integers(0, 9, (24, 5)), np.arange(24) % 3
    inputs = keras.Input((5,), dtype="int32")
    tensor = keras.layers.Embedding(9, 6, mask_zero=True)(inputs)
    tensor = keras.layers.Dense(6, name="latents")(tensor)
    tensor = keras.layers.MultiHeadAttention(2, 3)(tensor, tensor)
    tensor = keras.layers.Flatten()(tensor)
    outputs = keras.layers.Dense(3, "softmax")(tensor)
    plain = compile_(keras.Model(inputs, outputs), keras.optimizers.SGD(0.1))
    policy = keras_modals.Policy.single("class_mixing", 0.0)
    augmented = keras_modals.augment(plain, "latents", policy=policy, seed=0)
    losses = [
        model.fit(tokens, labels, batch_size=8, shuffle=False, epochs=2, verbose=0)
        for model in (plain, augmented)
    ]
    np.testing.assert_allclose(*(h.history["loss"] for h in losses), rtol=1e-5)


def test_suggests_the_right_name_of_an_argument():
    with pytest.raises(TypeError, match=r"'layers'\. Did you mean 'layer'"):
        keras_modals.augment(plain_model(), layers="head")
    with pytest.raises(TypeError, match=r"Did you mean 'memory_size'\?"):
        keras_modals.augment(plain_model(), memory_sizes=3)


def test_refuses_a_function_in_place_of_a_model():
    with pytest.raises(ValueError, match=r"write `augment\(build\(\)\)`"):
        keras_modals.augment(plain_model)


def _of_one_layer():
    outputs = keras.layers.Dense(3, "softmax", name="kind")
    return keras.Sequential([keras.Input((FEATURES,)), outputs])


@pytest.mark.parametrize("loss", ["crossentropy", "ce"])
def test_a_loss_that_keras_chooses_by_shapes(loss, rng):
    x, y = rng.normal(size=(20, FEATURES)).astype("float32"), np.arange(20) % 3
    losses = []
    for each in (loss, "sparse_categorical_crossentropy"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(3, "softmax")]
        )
        model.compile("sgd", each)
        model = augment(model, seed=0)
        losses.append(model.fit(x, y, verbose=0, shuffle=False).history["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("label_output", [1, ["kind"], "unknown"])
def test_an_output_that_is_not_there(label_output):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "softmax", name="kind")]
    )
    with pytest.raises(ValueError, match=r"Expected one of \['kind'\]"):
        augment(model, label_output=label_output)


def test_terms_that_are_not_in_a_list():
    model = augment(
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    )
    model.compile("sgd", "ce", terms=keras_modals.Triplets(0.1))
    assert [term.kind for term in model.terms] == ["triplet"]
    with pytest.raises(ValueError, match="Expected a list of `keras_modals"):
        model.compile("sgd", "ce", terms="triplet")
