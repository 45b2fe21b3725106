import keras
import numpy as np
import pytest
from keras import ops
from portable import BACKEND, array, gradients, tensor, tensorflow_only
from problems import (
    FEATURES,
    NUM_CLASSES,
    compile_,
    make_data,
    modals_model,
    plain_model,
)
from sklearn.datasets import load_digits

import keras_modals
from keras_modals import (
    GaussianDiscriminator,
    LatentAugmentation,
    ModalsModel,
    Policy,
    Prior,
    Triplets,
    TripletSelector,
)
from keras_modals._src.labels import of_groups

OFF = {"triplet_weight": 0.0, "prior_weight": 0.0}
EVERYTHING = {"triplet_weight": 0.1, "prior_weight": 0.1}
STRONG = Policy.constant(0.8, 0.5)
MIXING = Policy({"class_mixing": (1.0, 1.0)}, operation_counts=(0.0, 1.0))


def weights_of(model, names=("hidden", "latents", "head")):
    return [w for name in names for w in model.get_layer(name).get_weights()]


def assert_weights_close(first, second, **tolerance):
    for a, b in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


# Disabled features cost nothing and change nothing ------------------------------


@pytest.mark.parametrize("num_views", [1, 4])
def test_with_a_zero_policy_it_trains_as_the_plain_model(num_views, rng):
    x, y = make_data(rng)
    plain = plain_model()
    model = modals_model(plain, policy=Policy.zero(), num_views=num_views)
    compile_(plain, keras.optimizers.SGD(0.1))
    compile_(model, keras.optimizers.SGD(0.1), **OFF)
    arguments = {"batch_size": 20, "epochs": 3, "shuffle": False, "verbose": 0}
    plain_history = plain.fit(x, y, **arguments).history
    history = model.fit(x, y, **arguments).history
    assert_weights_close(plain, model, rtol=1e-4, atol=1e-6)
    assert history.keys() == plain_history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, plain_history[name], rtol=1e-4)


def test_encoder_trains_as_in_the_plain_model_while_the_head_is_augmented(rng):
    """The clean view carries the encoder's whole gradient."""
    x, y = make_data(rng)
    plain = plain_model()
    model = modals_model(plain, policy=STRONG, num_views=3)
    for each in (plain, model):
        each.get_layer("head").trainable = False
    compile_(plain, keras.optimizers.SGD(0.1))
    compile_(model, keras.optimizers.SGD(0.1), **OFF)
    arguments = {"batch_size": 20, "epochs": 3, "shuffle": False, "verbose": 0}
    plain.fit(x, y, **arguments)
    model.fit(x, y, **arguments)
    assert_weights_close(plain, model, rtol=1e-3, atol=1e-5)


def test_switched_off_parts_are_absent(rng):
    x, y = make_data(rng)
    model = compile_(modals_model(), **OFF)
    assert set(model.fit(x, y, verbose=0).history) == {"accuracy", "loss"}
    assert model.terms == []
    assert len(model.variables) == len(model.weights) + len(model._layer_seeds())


@tensorflow_only
def test_switched_off_parts_are_not_in_the_graph(rng):
    import tensorflow as tf

    model = compile_(modals_model(), **OFF)
    step = tf.function(model.train_step).get_concrete_function(make_data(rng))
    names = " ".join(operation.name for operation in step.graph.get_operations())
    assert "triplet" not in names
    assert "discriminator" not in names


def _graph(policy=STRONG, **layer):
    inputs = keras.Input((FEATURES,))
    latents = keras.layers.Dense(6)(inputs)
    latents = LatentAugmentation(NUM_CLASSES, policy, **layer)(latents)
    return inputs, keras.layers.Dense(NUM_CLASSES, "softmax")(latents)


# The step ------------------------------------------------------------------------


def test_one_step_matches_the_written_objective(rng):
    """Computes the weights after one SGD step from separate gradients of the terms."""
    x, y = make_data(rng, 24)
    model = modals_model(policy=Policy.zero(), num_views=1)
    compile_(
        model,
        keras.optimizers.SGD(0.1),
        terms=[
            Triplets(0.2, TripletSelector(5.0, "all")),
            Prior(0.3, GaussianDiscriminator((8,), seed=0), keras.optimizers.SGD(0.2)),
        ],
    )
    encoder = keras.Model(model.input, model.get_layer("latents").output)
    triplets, prior_term = model.terms
    head, discriminator = model.get_layer("head"), prior_term.discriminator
    state = discriminator.seed_generator.state
    before = array(state)
    prior = discriminator.sample_prior(24)
    state.assign(before)
    terms = {}

    def total_loss(*weights):
        z = encoder.stateless_call(weights[:4], [], x)[0]
        prediction = head.stateless_call(weights[4:], [], z)[0]
        terms["loss"] = ops.mean(
            keras.losses.sparse_categorical_crossentropy(tensor(y), prediction)
        )
        terms["triplet_loss"] = triplets.loss(y, z)
        terms["adversarial_loss"] = ops.mean(ops.softplus(-discriminator(z)))
        scaled = zip((0.8, 0.2, 0.3), terms.values(), strict=True)
        return sum(scale * term for scale, term in scaled)

    def discriminator_loss(*weights):
        def discriminate(latents):
            seed = [state.value]
            return discriminator.stateless_call(weights, seed, latents)[0]

        return discriminator.discriminator_loss(
            discriminate(array(encoder(x))), discriminate(prior)
        )

    groups = model.trainable_variables, discriminator.trainable_variables
    variables, expected = [*groups[0], *groups[1]], []
    for rate, loss, group in zip((0.1, 0.2), (total_loss, discriminator_loss), groups):
        value, slopes = gradients(loss, *[array(variable) for variable in group])
        expected += [array(v) - rate * slope for v, slope in zip(group, slopes)]
    told = value
    total_loss(*[variable.value for variable in groups[0]])
    model.run_eagerly = True
    logs = model.train_on_batch(x, y, return_dict=True)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(array(variable), value, rtol=1e-4, atol=1e-6)
    for name, value in (*terms.items(), ("discriminator_loss", told)):
        np.testing.assert_allclose(logs[name], array(value), rtol=1e-5)


def test_encoder_runs_forward_once(rng):
    calls = []

    class Counting(keras.layers.Dense):
        def call(self, inputs):
            calls.append(1)
            return super().call(inputs)

    inputs = keras.Input((FEATURES,))
    latents = Counting(6)(inputs)
    latents = LatentAugmentation(NUM_CLASSES, STRONG)(latents)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(latents)
    model = compile_(ModalsModel(inputs, outputs), run_eagerly=True, **EVERYTHING)
    x, y = make_data(rng, 30)
    model.train_on_batch(x, y)
    calls.clear()
    model.train_on_batch(x, y)
    assert len(calls) == 1


def test_class_memory_holds_the_clean_latents_of_the_batch(rng):
    x, y = make_data(rng, 30)
    model = compile_(modals_model(policy=STRONG), keras.optimizers.SGD(0.0))
    encoder = keras.Model(model.input, model.get_layer("latents").output)
    latents = array(encoder(x))
    model.fit(x, y, batch_size=30, verbose=0, shuffle=False)
    memory = model.latent_augmentation.memory
    for label in range(NUM_CLASSES):
        statistics = memory.statistics(np.array([label], "int32"))
        own = latents[y == label]
        assert int(statistics.count[0]) == 10
        np.testing.assert_allclose(statistics.mean[0], own.mean(0), atol=1e-5)
        np.testing.assert_allclose(statistics.deviation[0], own.std(0), atol=1e-4)


def test_memory_keeps_the_losses_of_the_clean_view(rng):
    x, y = make_data(rng, 30)
    model = modals_model(policy=STRONG)
    compile_(model, keras.optimizers.SGD(0.0))
    expected = keras.losses.sparse_categorical_crossentropy(y, model(x))
    model.fit(x, y, batch_size=30, verbose=0, shuffle=False)
    memory = model.latent_augmentation.memory
    for label in range(NUM_CLASSES):
        held = memory.take_hardness(np.full(10, label, "int32"), np.arange(10))
        np.testing.assert_allclose(held, array(expected)[y == label], rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        ("categorical_crossentropy", lambda y: np.eye(NUM_CLASSES)[y]),
        (keras.losses.SparseCategoricalCrossentropy(), lambda y: y),
        (keras.losses.CategoricalFocalCrossentropy(), lambda y: np.eye(NUM_CLASSES)[y]),
        ("sparse_categorical_crossentropy", lambda y: y[:, None]),
        (
            lambda y, p: ops.mean(keras.losses.categorical_crossentropy(y, p)),
            lambda y: np.eye(NUM_CLASSES, dtype="float32")[y],
        ),
    ],
    ids=["one-hot", "class", "focal", "column", "reduced"],
)
@pytest.mark.parametrize("policy", [STRONG, MIXING], ids=["paper", "mixing"])
def test_losses_and_label_forms(loss, form, policy, rng):
    x, y = make_data(rng)
    model = compile_(modals_model(policy=policy), loss=loss, **EVERYTHING)
    history = model.fit(x, form(y), batch_size=40, epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None].astype("float32")])
def test_binary_head(form, rng):
    x, y = make_data(rng)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6, "relu")(inputs)
    outputs = keras.layers.Dense(1, "sigmoid")(hidden)
    model = keras_modals.augment(keras.Model(inputs, outputs), policy=STRONG)
    assert model.latent_augmentation.num_classes == 2
    compile_(model, "sgd", loss="binary_crossentropy", **EVERYTHING)
    history = model.fit(x, form((y > 0).astype("int32")), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    memory = model.latent_augmentation.memory
    np.testing.assert_array_equal(memory.counts(np.array([0, 1])), [64, 100])


def test_sample_and_class_weights(rng):
    """As in Keras, weight 0 excludes a sample, and class weights are sample weights."""
    x, y = make_data(rng)
    weight = np.where(y == 0, 0.0, 2.0).astype("float32")
    models = [modals_model(plain_model(), policy=Policy.zero()) for _ in range(3)]
    for model in models:
        model.set_weights(models[0].get_weights())
        compile_(model, keras.optimizers.SGD(0.1), **OFF)
    arguments = {"batch_size": 32, "shuffle": False, "verbose": 0}
    models[0].fit(x, y, sample_weight=weight, **arguments)
    models[1].fit(x, y, class_weight={0: 0.0, 1: 2.0, 2: 2.0}, **arguments)
    assert_weights_close(models[0], models[1], rtol=1e-6)
    plain = plain_model()
    plain.set_weights(weights_of(modals_model(plain, policy=Policy.zero())))
    for name in ("hidden", "latents", "head"):
        plain.get_layer(name).set_weights(models[2].get_layer(name).get_weights())
    compile_(plain, keras.optimizers.SGD(0.1))
    plain.fit(x, y, sample_weight=weight, **arguments)
    assert_weights_close(models[0], plain, rtol=1e-4, atol=1e-6)


def test_class_mixing_loss_sees_both_labels_and_metrics_the_true_ones(rng):
    x, y = make_data(rng, 24)
    weight = rng.uniform(0.5, 2, 24).astype("float32")
    model = modals_model(policy=MIXING, num_views=2)
    compile_(model, keras.optimizers.SGD(0.0), **OFF)
    layer = model.latent_augmentation
    state = layer.seed_generator.state
    before = array(state)
    encoder = keras.Model(model.input, model.get_layer("latents").output)
    with model.step_scope(of_groups(tensor(y, "int32"))) as scope:
        outputs = layer(tensor(encoder(x)), training=True)
    prediction = array(model.get_layer("head")(outputs))
    share = array(scope.rows.share)
    assert np.any(share > 0)
    partner = array(scope.rows.partner)
    rows = np.arange(48)
    own = -np.log(prediction[rows, np.tile(y, 2)]) * np.tile(weight, 2)
    other = -np.log(prediction[rows, y[partner]]) * weight[partner]
    expected = np.mean((1 - share) * own + share * other)
    correct = prediction[:24].argmax(1) == y
    state.assign(before)
    model.run_eagerly = True
    logs = model.train_on_batch(x, y, sample_weight=weight, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"], np.mean(correct), rtol=1e-5)


def test_regularizers_count_once(rng):
    x, y = make_data(rng, 24)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6, kernel_regularizer=keras.regularizers.L2(0.5))(
        inputs
    )
    plain = keras.Model(inputs, keras.layers.Dense(NUM_CLASSES, "softmax")(hidden))
    for policy in (Policy.zero(), Policy.zero(("class_mixing",), 1)):
        model = keras_modals.augment(plain, policy=policy)
        compile_(model, keras.optimizers.SGD(0.0), **OFF)
        compile_(plain, keras.optimizers.SGD(0.0))
        np.testing.assert_allclose(
            model.train_on_batch(x, y), plain.train_on_batch(x, y), rtol=1e-5
        )


@pytest.mark.parametrize("num_views", [1, 3])
@pytest.mark.parametrize("policy", [Policy.zero(), MIXING], ids=["zero", "mixing"])
def test_sums_do_not_grow_with_the_views(num_views, policy, rng):
    """At magnitude zero, a summed loss and its step equal the plain model's."""
    x, y = make_data(rng, 24)
    plain = plain_model()
    model = modals_model(plain, policy=policy, num_views=num_views)
    if policy is MIXING:
        still = {"class_mixing": (0.0, 0.0)}
        model.latent_augmentation.policy = Policy(still, operation_counts=(0.0, 1.0))
    for each in (plain, model):
        off = OFF if each is model else {}
        loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
        compile_(each, keras.optimizers.SGD(0.01), loss=loss, **off)
    expected = plain.train_on_batch(x, y, return_dict=True)["loss"]
    result = model.train_on_batch(x, y, return_dict=True)["loss"]
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert_weights_close(plain, model, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layer", [{"num_views": 1}, {"num_views": 2, "clean_view": False}]
)
def test_the_encoder_trains_with_any_views(layer, rng):
    x, y = make_data(rng)
    model = compile_(modals_model(**layer), keras.optimizers.SGD(0.1), **OFF)
    before = weights_of(model)
    model.fit(x, y, epochs=2, verbose=0)
    for old, new in zip(before, weights_of(model), strict=True):
        assert np.any(old != new)


def test_it_must_be_compiled_as_keras_says(rng):
    with pytest.raises(ValueError, match="call `compile"):
        ModalsModel(*_graph()).fit(*make_data(rng), verbose=0)


def test_a_label_output_without_a_loss(rng):
    x, y = make_data(rng)
    inputs = keras.Input((FEATURES,))
    latents = LatentAugmentation(NUM_CLASSES, STRONG)(inputs)
    kind = keras.layers.Dense(NUM_CLASSES, "softmax", name="kind")(latents)
    size = keras.layers.Dense(1, name="size")(kind)
    model = ModalsModel(inputs, {"kind": kind, "size": size}, label_output="kind")
    model.compile("sgd", {"kind": None, "size": "mse"})
    history = model.fit(x, {"kind": y, "size": x[:, :1]}, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    stream = [(x[:32], {"size": x[:32, :1]})]
    with pytest.raises(ValueError, match="no labels for the output 'kind'"):
        model.fit((batch for batch in stream), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="no labels for the output 'kind'"):
        model.fit(x, {"size": x[:, :1]}, verbose=0)


def test_a_head_shared_with_a_clean_branch(rng):
    x, y = make_data(rng)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6)(inputs)
    head = keras.layers.Dense(NUM_CLASSES, "softmax")
    augmented = head(LatentAugmentation(NUM_CLASSES, STRONG)(hidden))
    outputs = {"augmented": augmented, "clean": head(hidden)}
    model = ModalsModel(inputs, outputs, label_output="augmented", num_views=2)
    assert model.output_map.augmented == ["augmented"]
    model.compile("sgd", dict.fromkeys(outputs, "sparse_categorical_crossentropy"))
    history = model.fit(x, dict.fromkeys(outputs, y), verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_labels_given_to_the_layer_in_the_graph_are_refused(rng):
    x, y = make_data(rng)
    inputs = {
        "x": keras.Input((FEATURES,), name="x"),
        "y": keras.Input((), dtype="int32", name="y"),
    }
    latents = LatentAugmentation(NUM_CLASSES, STRONG)(inputs["x"], labels=inputs["y"])
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(latents)
    model = compile_(ModalsModel(inputs, outputs), **OFF)
    with pytest.raises(ValueError, match="`labels` in a direct call only"):
        model.fit({"x": x, "y": y}, y, verbose=0)


def test_a_layer_used_twice_is_refused():
    inputs = keras.Input((FEATURES,))
    layer = LatentAugmentation(NUM_CLASSES, STRONG, name="both")
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(layer(layer(inputs)))
    with pytest.raises(ValueError, match=r"used once.*\['both'\]"):
        ModalsModel(inputs, outputs)


def test_refuses_a_discriminator_of_another_shape():
    discriminator = keras_modals.GaussianDiscriminator()
    discriminator.build((None, 2, 3))
    with pytest.raises(ValueError, match=r"latents of shape \(2, 3\)"):
        compile_(ModalsModel(*_graph()), terms=[Prior(0.1, discriminator)])


def test_refuses_a_regression_head():
    inputs = keras.Input((FEATURES,))
    latents = LatentAugmentation(NUM_CLASSES)(inputs)
    with pytest.raises(ValueError, match="num_classes=3"):
        ModalsModel(inputs, keras.layers.Dense(1)(latents))


# As in Keras ----------------------------------------------------------------------


WAYS = {
    "graph": lambda: {"run_eagerly": False},
    "eager": lambda: {"run_eagerly": True},
    "clipnorm": lambda: {"optimizer": keras.optimizers.Adam(clipnorm=0.1)},
    "global_clipnorm": lambda: {"optimizer": keras.optimizers.SGD(global_clipnorm=0.1)},
}
if BACKEND == "jax":
    # On JAX, every small operation is compiled separately.
    del WAYS["eager"]
if BACKEND != "torch":
    # PyTorch compiles for minutes, and Keras rejects several steps per execution there.
    WAYS["jit"] = lambda: {"jit_compile": True}
    WAYS["steps"] = lambda: {"steps_per_execution": 2, "run_eagerly": False}


@pytest.mark.parametrize("policy", [STRONG, MIXING], ids=["paper", "mixing"])
@pytest.mark.parametrize("way", WAYS)
def test_ways_to_train(policy, way, rng):
    x, y = make_data(rng)
    arguments = WAYS[way]()
    model = compile_(modals_model(policy=policy), **EVERYTHING, **arguments)
    history = model.fit(
        x, y, batch_size=20, epochs=2, validation_data=(x, y), verbose=0
    ).history
    assert set(history) == {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "triplet_loss",
        "adversarial_loss",
        "discriminator_loss",
        "discriminator_accuracy",
        "prior_distance",
    }
    assert all(np.isfinite(values).all() for values in history.values())
    memory = model.latent_augmentation.memory
    if policy is MIXING:
        assert memory is None
    else:
        counts = memory.counts(np.arange(NUM_CLASSES))
        np.testing.assert_array_equal(counts, [64, 64, 64])


def test_evaluate_matches_the_plain_model(rng):
    x, y = make_data(rng)
    model = compile_(modals_model(policy=STRONG), **EVERYTHING)
    model.fit(x, y, epochs=2, verbose=0)
    plain = compile_(model.inference_model())
    expected = plain.evaluate(x, y, return_dict=True, verbose=0)
    result = model.evaluate(x, y, return_dict=True, verbose=0)
    assert result.keys() == expected.keys() == {"loss", "accuracy"}
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-6)
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), plain.predict(x, verbose=0)
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.data = x, y

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return tuple(part[index * 20 : (index + 1) * 20] for part in self.data)


def tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(20)


def torch_data(x, y):
    data = pytest.importorskip("torch.utils.data")
    samples = [(row, int(label)) for row, label in zip(x, y)]
    return data.DataLoader(samples, batch_size=20)


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize(
    ("form", "steps"),
    [
        (lambda x, y: (tensor(x), tensor(y, "int32")), None),
        (lambda x, y: (tf_data(x, y),), None),
        (lambda x, y: (tf_data(x, y).repeat(),), 3),
        (lambda x, y: (torch_data(x, y),), None),
        (lambda x, y: (Batches(x, y),), None),
        (lambda x, y: (iter(Batches(x, y)),), 5),
    ],
    ids=["tensors", "tf.data", "endless", "DataLoader", "PyDataset", "generator"],
)
def test_data_as_users_have_it(form, steps, rng):
    """The last batch is smaller than the others."""
    data = form(*make_data(rng))
    model = compile_(modals_model(policy=STRONG), **EVERYTHING)
    arguments = {"batch_size": 20} if len(data) == 2 else {}
    history = model.fit(
        *data, steps_per_epoch=steps, shuffle=False, verbose=0, **arguments
    )
    assert np.isfinite(history.history["loss"]).all()
    counts = model.latent_augmentation.memory.counts(np.arange(NUM_CLASSES))
    assert sum(counts) == (60 if steps == 3 else 96)


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype, rng):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    order = rng.permutation(len(x))
    (x, x_test), (y, y_test) = (np.split(array[order], [600]) for array in (x, y))

    def train(dtype):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(dtype)
        try:
            inputs = keras.Input((64,))
            hidden = keras.layers.Dense(64, "relu")(inputs)
            latents = keras.layers.Dense(16)(hidden)
            outputs = keras.layers.Dense(10)(latents)
            # As Keras advises, use a separate softmax in float32.
            outputs = keras.layers.Softmax(dtype="float32")(outputs)
            model = modals_model(keras.Model(inputs, outputs), policy=STRONG)
        finally:
            keras.config.set_dtype_policy("float32")
        optimizer = keras.optimizers.Adam(3e-3)
        weights = {"triplet_weight": 0.1, "prior_weight": 0.01}
        compile_(model, optimizer, run_eagerly=False, **weights)
        history = model.fit(x, y, batch_size=60, epochs=15, verbose=0).history
        assert all(np.isfinite(values).all() for values in history.values())
        scores = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
        return model, scores["accuracy"]

    (_, expected), (model, accuracy) = train("float32"), train(dtype)
    # Two standard errors of a difference at this accuracy, with 1,197 samples.
    assert abs(accuracy - expected) < 2 * np.sqrt(2 * 0.9 * 0.1 / len(y_test))
    assert expected > 0.85
    scaled = keras.optimizers.LossScaleOptimizer
    for optimizer in model.optimizers:
        assert isinstance(optimizer, scaled) == (dtype == "mixed_float16")
    memory = model.latent_augmentation.memory
    assert {str(weight.dtype) for weight in memory.weights} == {"float32", "int32"}
    statistics = memory.statistics(np.arange(10, dtype="int32"))
    assert str(keras.backend.standardize_dtype(statistics.mean.dtype)) == "float32"
    assert np.all(array(statistics.deviation) > 0)


@pytest.mark.parametrize("structure", ["dict", "list"])
@pytest.mark.parametrize("policy", [STRONG, MIXING], ids=["paper", "mixing"])
def test_dict_inputs_and_several_outputs(structure, policy, rng):
    x, y = make_data(rng)
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    hidden = keras.layers.Concatenate()([first, second])
    hidden = keras.layers.Dense(6, "relu")(hidden)
    latents = LatentAugmentation(NUM_CLASSES, policy)(hidden)
    outputs = {
        "kind": keras.layers.Dense(NUM_CLASSES, "softmax", name="kind")(latents),
        "size": keras.layers.Dense(1, name="size")(latents),
        "before": keras.layers.Dense(1, name="before")(hidden),
    }
    amount = x.sum(axis=1, keepdims=True)
    losses = dict.fromkeys(outputs, "mse")
    losses["kind"] = "sparse_categorical_crossentropy"
    targets = {"kind": y, "size": amount, "before": amount}
    weights = dict.fromkeys(outputs, np.linspace(0, 1, 96, dtype="float32"))
    if structure == "list":
        outputs, losses, targets, weights = (
            list(value.values()) for value in (outputs, losses, targets, weights)
        )
    inputs = {"first": first, "second": second}
    with pytest.raises(ValueError, match="label_output=None"):
        ModalsModel(inputs, outputs)
    model = ModalsModel(inputs, outputs, label_output="kind", num_views=2)
    assert sorted(model.output_map.augmented) == ["kind", "size"]
    model.compile("adam", losses, **EVERYTHING)
    for sample_weight in (None, weights):
        history = model.fit(
            {"first": x[:, :4], "second": x[:, 4:]},
            targets,
            sample_weight=sample_weight,
            verbose=0,
        ).history
        assert np.isfinite(history["loss"]).all()


def test_callbacks_see_the_users_optimizer(rng):
    x, y = make_data(rng)
    model = modals_model(policy=STRONG)
    compile_(model, keras.optimizers.SGD(0.5), **EVERYTHING)
    rates = []

    def note_rate(*_):
        rates.append(float(model.optimizer.learning_rate))

    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)),
        keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True),
        keras.callbacks.LambdaCallback(on_epoch_end=note_rate),
    ]
    model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=callbacks)
    np.testing.assert_allclose(rates, [0.5 / (n + 1) for n in range(len(rates))])


@pytest.mark.backend
@pytest.mark.skipif(BACKEND == "torch", reason="eager steps are not traced")
def test_assigning_a_policy_or_weight_traces_nothing_again(rng):
    x, y = make_data(rng)
    traces = []

    class Tracing(keras.layers.Layer):
        def call(self, inputs, training=None):
            traces.append(bool(training))
            return inputs

    def train(model):
        """Returns how often an epoch traces a model. Its last batch is smaller."""
        before = len(traces)
        model.fit(x, y, batch_size=40, verbose=0)
        return len(traces) - before

    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6)(inputs)
    head = keras.Sequential([Tracing(), keras.layers.Dense(NUM_CLASSES, "softmax")])
    plain = compile_(keras.Model(inputs, head(hidden)), run_eagerly=False)
    latents = LatentAugmentation(NUM_CLASSES, STRONG)(hidden)
    model = ModalsModel(inputs, head(latents))
    compile_(model, run_eagerly=False, **EVERYTHING)
    assert 0 < train(model) <= train(plain)
    model.latent_augmentation.policy = Policy.constant(0.1, 0.9)
    model.term_weights["triplet_weight"].assign(0.3)
    model.term_weights["prior_weight"].assign(0.0)
    assert train(model) == 0


@pytest.mark.backend
@pytest.mark.skipif(BACKEND != "jax", reason="about JAX itself")
def test_a_step_leaks_no_tracer(rng):
    import jax

    x, y = make_data(rng, 24)
    model = compile_(modals_model(policy=STRONG), **EVERYTHING)
    with jax.check_tracer_leaks():
        for _ in range(2):
            logs = model.train_on_batch(x, y, return_dict=True)
    assert np.isfinite(logs["loss"])


@pytest.mark.backend
def test_seeds(rng):
    x, y = make_data(rng)

    def train(seed):
        keras.utils.set_random_seed(0)
        model = modals_model(policy=STRONG, seed=seed)
        compile_(model, **EVERYTHING)
        model.fit(x, y, batch_size=20, epochs=2, verbose=0)
        return weights_of(model)

    first, same, other = train(1), train(1), train(2)
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first, other, strict=True))


# Bad input --------------------------------------------------------------------------


def test_refuses_a_graph_without_a_layer():
    inputs = keras.Input((FEATURES,))
    with pytest.raises(ValueError, match="must contain a `LatentAugmentation`"):
        ModalsModel(inputs, keras.layers.Dense(3)(inputs))


@pytest.mark.parametrize("clean", [True, False])
def test_refuses_a_branch_that_meets_several_views(clean, rng):
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(4)(inputs)
    bypass = keras.layers.Dense(4)(hidden)

    def build(num_views):
        latents = LatentAugmentation(NUM_CLASSES, STRONG)(hidden)
        merged = keras.layers.Add(name="meeting")([latents, bypass])
        outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(merged)
        has_clean = clean and num_views > 1
        return ModalsModel(inputs, outputs, num_views=num_views, clean_view=has_clean)

    with pytest.raises(ValueError, match=r"meets it in: \['meeting'\]"):
        build(2)
    x, y = make_data(rng)
    history = compile_(build(1), **OFF).fit(x, y, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_nested_layer(rng):
    inner_inputs = keras.Input((FEATURES,))
    x, y = make_data(rng)

    def build(num_views):
        latents = LatentAugmentation(NUM_CLASSES, STRONG, name="inner")
        inner = keras.Model(inner_inputs, latents(inner_inputs))
        inputs = keras.Input((FEATURES,))
        outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(inner(inputs))
        return ModalsModel(inputs, outputs, num_views=num_views)

    for num_views in (1, 2):
        model = compile_(build(num_views), **OFF)
        assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match="nested model"):
        model.inference_model()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: y - 1, "a label of -1"),
        (lambda y: y + 1, "a label of 3"),
        (lambda y: y + 0.5, "regression"),
        (lambda y: np.ones((96, 3)), r"MultiLabels\(3\)"),
        (lambda y: np.ones((96, 5)), r"shape \(96, 5\)"),
        (lambda y: None, "y=None"),
    ],
)
def test_refuses_labels_before_the_first_step(labels, message, rng):
    x, y = make_data(rng)
    model = compile_(modals_model(policy=STRONG), **EVERYTHING)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(x, labels(y), verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_labels_that_start_at_1_are_said_to(rng):
    x, y = make_data(rng)
    model = keras_modals.augment(compile_(plain_model()))
    with pytest.raises(ValueError, match=r"Do labels start at 1.*a label of 3"):
        model.fit(x, y + 1, verbose=0)


@pytest.mark.slow
@pytest.mark.backend
def test_labels_out_of_range_in_a_stream_touch_no_memory(rng):
    x, y = make_data(rng)
    model = modals_model(policy=STRONG)

    def loss(y_true, y_pred):
        # Keras's loss must not fail on such a label. Its `ignore_class` does, before
        # 3.15 and on PyTorch.
        y_true = ops.reshape(y_true, (-1,))
        losses = keras.losses.sparse_categorical_crossentropy(
            ops.maximum(y_true, 0), y_pred
        )
        return ops.where(y_true < 0, 0.0, losses)

    model.compile("sgd", loss, **EVERYTHING)
    labels = np.where(y == 1, -1, y)
    history = model.fit(Batches(x, labels), shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    counts = model.latent_augmentation.memory.counts(np.arange(NUM_CLASSES))
    np.testing.assert_array_equal(array(counts), [32, 0, 32])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"triplet_weight": float("nan")}, "triplet_weight=nan"),
        ({"triplet_weight": 1.0}, "triplet_weight=1.0"),
        ({"triplet_weight": -0.1}, "triplet_weight=-0.1"),
        ({"prior_weight": float("nan")}, "prior_weight=nan"),
        ({"prior_weight": -1}, "prior_weight=-1"),
        ({"terms": ["triplet"]}, r"terms=\['triplet'\]"),
        ({"terms": [Triplets(0.1)], "triplet_weight": 0.2}, "one term of each kind"),
    ],
)
def test_refuses_compile_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        compile_(modals_model(), **arguments)


def test_refuses_constructor_arguments():
    with pytest.raises(ValueError, match="label_output='kind'"):
        ModalsModel(*_graph(), label_output="kind")
    with pytest.raises(ValueError, match="discriminator='none'"):
        Prior(discriminator="none")
    with pytest.raises(ValueError, match="loss='contrastive'"):
        Triplets(loss="contrastive")
