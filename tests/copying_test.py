"""Copies of models keep the classes of layers, whatever their configs contain."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from portable import tensorflow_only

import keras_modals
from keras_modals._src.models.copying import copy_model

pytestmark = pytest.mark.backend

ZERO = {"policy": keras_modals.Policy.zero(repeats=1), "num_views": 1, "seed": 0}


class Shift(L.Layer):
    """A layer in the style of keras.io: no `**kwargs`, no `get_config`."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.shift = L.Dense(size, bias_initializer="ones")

    def call(self, inputs):
        return self.shift(inputs)


def scaling(factor):
    """Returns a layer class. Two calls return two classes with the same name."""

    class Scaling(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.weight = self.add_weight(shape=(), initializer="ones")

        def call(self, inputs):
            return factor * self.weight * inputs

    return Scaling


class Forgetful(L.Layer):
    """A layer whose config omits an argument."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self._factor = factor
        self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return self._factor * self.weight * inputs

    def get_config(self):
        return {"name": self.name}


class Selfish(Forgetful):
    """A layer with an attribute named like TensorFlow's own."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(factor, **kwargs)
        self._self_factor, self._factor = factor, 1.0

    def call(self, inputs):
        return self._self_factor * super().call(inputs)


class Unsayable(keras.regularizers.Regularizer):
    """A regularizer without a config."""

    def __call__(self, x):
        return 0.1 * ops.sum(ops.abs(x))


class Regularized(L.Layer):
    def __init__(self, regularizer):
        super().__init__()
        self.dense = L.Dense(4, kernel_regularizer=regularizer)

    def call(self, inputs):
        return self.dense(inputs)


def twice(x):
    return 2.0 * x


def other_twice():
    def twice(x):
        return 2.0 * x + 1.0

    return twice


def model_of(*layers):
    inputs = keras.Input((6,))
    tensor = inputs
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, L.Dense(3, "softmax", name="head")(tensor))


def x_of(rng, rows=5):
    return rng.normal(size=(rows, 6)).astype("float32")


def check(model, x):
    """Checks that the augmented model predicts like the model, with its own weights."""
    expected = model.predict(x, verbose=0)
    augmented = keras_modals.augment(model, **ZERO)
    np.testing.assert_allclose(augmented.predict(x, verbose=0), expected, rtol=1e-6)
    augmented.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    augmented.fit(x, np.arange(len(x)) % 3, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert not np.allclose(augmented.predict(x, verbose=0), expected)
    return augmented


def test_a_layer_without_config_is_copied_by_its_arguments(rng):
    augmented = check(model_of(Shift(4)), x_of(rng))
    assert augmented.layers[1].size == 4


def test_classes_of_one_name(rng):
    first, second = scaling(2.0), scaling(-3.0)
    augmented = check(model_of(first(), L.Dense(5), second()), x_of(rng))
    kinds = [type(layer) for layer in augmented.layers]
    assert first in kinds
    assert second in kinds


def test_a_class_named_as_one_of_keras(rng):
    class Dense(L.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

        def call(self, inputs):
            return ops.tanh(ops.matmul(inputs, self.kernel))

    check(model_of(Dense(), L.Dense(5, name="keras")), x_of(rng))


def test_layers_and_operations_of_one_name(rng):
    inputs = keras.Input((6,))
    tensor = L.Dense(6)(inputs)
    tensor = L.Add()([tensor, inputs])
    tensor = tensor + inputs
    check(keras.Model(inputs, L.Dense(3, "softmax")(L.Dense(4)(tensor))), x_of(rng))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Dense(4, activation=twice),
        lambda: L.Lambda(lambda z: ops.sin(z)),
        lambda: L.Bidirectional(L.LSTM(2)),
    ],
    ids=["function", "Lambda", "wrapper"],
)
def test_functions_and_objects_that_no_config_brings_back(layer, rng):
    layers = [layer()]
    if isinstance(layers[0], L.Bidirectional):
        layers.insert(0, L.Reshape((3, 2)))
    check(model_of(*layers), x_of(rng))


def test_functions_of_one_name(rng):
    layers = L.Dense(4, activation=twice), L.Dense(4, activation=other_twice())
    augmented = check(model_of(*layers), x_of(rng))
    assert [layer.activation for layer in augmented.layers[1:3]] == [
        layer.activation for layer in layers
    ]


@pytest.mark.parametrize("layer", [Forgetful, Selfish])
def test_what_a_config_forgets_is_shared_with_a_warning(layer, rng):
    x = x_of(rng)
    model = model_of(layer(3.0))
    expected = model.predict(x, verbose=0)
    with pytest.warns(UserWarning, match=r"shares its layers.*factor` is 1\.0, not 3"):
        augmented = keras_modals.augment(model, **ZERO)
    np.testing.assert_allclose(augmented.predict(x, verbose=0), expected, rtol=1e-6)
    assert augmented.get_layer("head") is model.get_layer("head")


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Regularized(Unsayable()),
        lambda: L.Dense(4, kernel_regularizer=Unsayable()),
        lambda: L.Dense(4, activation=lambda z: ops.sin(z) + 0.5),
    ],
    ids=["argument", "regularizer", "lambda"],
)
def test_layers_without_a_usable_config_are_shared_with_a_warning(layer, rng):
    x, y = x_of(rng, 12), np.arange(12) % 3
    shared, plain = model_of(layer()), model_of(layer())
    plain.set_weights(shared.get_weights())
    with pytest.warns(UserWarning, match="shares its layers.*cannot be made"):
        augmented = keras_modals.augment(shared, **ZERO)
    losses = []
    for model in (plain, augmented):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        losses.append(model.fit(x, y, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_what_is_frozen_stays_frozen(rng):
    block = Shift(4)
    model = model_of(L.Dense(5, trainable=False), block)
    block.shift.trainable = False
    copy = copy_model(model)
    assert [v.path for v in copy.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]


@pytest.mark.parametrize("case", ["model", "sublayer", "nested"])
def test_flags_of_layers_are_copied_one_by_one(case):
    inner = keras.Sequential([keras.Input((5,)), L.Dense(5), L.BatchNormalization()])
    model = model_of(L.Dense(5), inner)
    if case == "model":
        model.trainable = False
        model.layers[-1].trainable = True
    if case == "sublayer":
        inner.layers[-1].trainable = False
    if case == "nested":
        inner.trainable = False
        inner.layers[-1].trainable = True
    copy = keras_modals.augment(model, **ZERO)
    assert len(copy.trainable_variables) == len(model.trainable_variables)
    for layer in inner.layers:
        copied = copy.get_layer(inner.name).get_layer(layer.name)
        assert copied.trainable == layer.trainable


def test_regularizers_of_variables_are_copied():
    model = model_of(L.Dense(4, name="dense"))
    model.get_layer("dense").kernel.regularizer = keras.regularizers.L2(0.1)
    model.get_layer("dense").bias.constraint = keras.constraints.MaxNorm(0.5)
    copy = copy_model(model).get_layer("dense")
    assert copy.kernel.regularizer is model.get_layer("dense").kernel.regularizer
    assert copy.bias.constraint is model.get_layer("dense").bias.constraint


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "offset", ops.ones(5) * 2),
        lambda layer: setattr(layer, "offset", np.float32(3.0)),
        lambda layer: setattr(layer, "offset", [np.ones(5)]),
        lambda layer: setattr(layer, "unknown", 1.0),
        lambda layer: setattr(layer, "call", lambda x: 2.0 * x),
    ],
    ids=["tensor", "number", "list", "new", "call"],
)
def test_what_was_changed_later_is_not_lost(change, rng):
    class Adding(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.weight = self.add_weight(shape=(), initializer="ones")
            self.offset = 0.0

        def call(self, x):
            offset = self.offset
            if isinstance(offset, list):
                offset = ops.convert_to_tensor(offset[0], x.dtype)
            return x * self.weight + offset + getattr(self, "unknown", 0.0)

    layer = Adding()
    model = model_of(L.Dense(5), layer)
    change(layer)
    x = x_of(rng)
    expected = model(x)
    with pytest.warns(UserWarning, match="shares its layers"):
        copy = copy_model(model)
    np.testing.assert_allclose(
        ops.convert_to_numpy(copy(x)), ops.convert_to_numpy(expected), rtol=1e-6
    )


@tensorflow_only
def test_nested_models_and_vocabularies(rng):
    lookup = L.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array(["a", "b", "c"]))
    inner = keras.Sequential([keras.Input((4,)), Shift(4), L.BatchNormalization()])
    inputs = keras.Input((1,), dtype="string")
    tensor = keras.Model(inputs, inner(lookup(inputs)), name="inner")(inputs)
    model = keras.Model(inputs, L.Dense(3, "softmax")(tensor))
    words = ops.convert_to_tensor(np.array([["a"], ["c"], ["d"]]))
    copy = copy_model(model)
    np.testing.assert_array_equal(copy(words), model(words))
    assert len(copy.trainable_variables) == len(model.trainable_variables)


def test_a_head_of_several_tensors_is_refused():
    class Classifier(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(1, "sigmoid")

        def call(self, inputs):
            return self.dense(ops.concatenate(keras.tree.flatten(inputs), axis=-1))

    inputs = {
        "age": keras.Input((1,), name="age"),
        "sex": keras.Input((2,), name="sex"),
    }
    for structure in (inputs, list(inputs.values())):
        model = keras.Model(structure, Classifier(name="classifier")(structure))
        with pytest.raises(ValueError, match="'classifier', takes several tensors"):
            keras_modals.augment(model)


@pytest.mark.parametrize("name", ["compute_loss", "compute_metrics", "call", "fit"])
def test_overrides_are_not_dropped(name):
    def override(self, *args, **kwargs):
        return getattr(super(model_class, self), name)(*args, **kwargs)

    model_class = type("Mine", (keras.Model,), {name: override})
    inputs = keras.Input((6,))
    model = model_class(inputs, L.Dense(3, "softmax")(L.Dense(4)(inputs)))
    with pytest.raises(ValueError, match=f"`Mine` overrides: {name}. Derive the class"):
        keras_modals.augment(model)
    ours = type("Mine", (keras_modals.ModalsModel,), {name: override})
    latents = keras_modals.LatentAugmentation(3)(L.Dense(4)(inputs))
    if name != "fit":
        with pytest.raises(ValueError, match=f"overrides: {name}"):
            keras_modals.SharedEncoderSearch(ours(inputs, L.Dense(3)(latents)), 1)
