"""Labels in streams are checked like arrays."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L
from portable import BACKEND

import keras_modals
from keras_modals import Classes, MultiLabels, Positions, Values
from keras_modals._src.labels import of_groups
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.rows import RowMap

pytestmark = [
    pytest.mark.backend,
    # This is Keras's own warning about streams.
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
]

SIZE, FEATURES = 32, 6


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size=8):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return len(self.x) // self.batch_size

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[part], self.y[part]


def generator(x, y):
    while True:
        for start in range(0, len(x), 8):
            yield x[start : start + 8], y[start : start + 8]


def tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def data_loader(x, y):
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(pairs, batch_size=8)


STREAMS = [Batches, generator, tf_data, data_loader]


def model_of(width, activation, loss, classes=None, **layer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((FEATURES,)), L.Dense(4), L.Dense(width, activation)]
    )
    model = keras_modals.augment(model, num_classes=classes, seed=0, **layer)
    eager = BACKEND == "tensorflow"
    model.compile("sgd", loss, run_eagerly=eager, jit_compile=BACKEND == "jax")
    return model


def fit(model, data, **arguments):
    steps = SIZE // 8
    return model.fit(data, steps_per_epoch=steps, verbose=0, **arguments).history


def x_of(rng):
    return rng.normal(size=(SIZE, FEATURES)).astype("float32")


# What the loss and output reveal -----------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", keras.losses.LogCosh()])
@pytest.mark.parametrize("width", [1, 4])
def test_a_regression_of_classes_is_refused_when_compiling(loss, width):
    """An uncompiled model without an activation may be for classes."""
    with pytest.raises(ValueError, match=r"regression: pass `labels=.*Values\(\)`"):
        model_of(width, None, loss)


def test_squared_errors_of_probabilities_are_no_regression(rng):
    model = model_of(3, "softmax", "mse")
    one_hot = np.eye(3, dtype="float32")[np.arange(SIZE) % 3]
    assert "ignored_labels" not in fit(model, Batches(x_of(rng), one_hot))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("sigmoid", "binary_crossentropy"),
        ("sigmoid", "categorical_crossentropy"),
        (None, keras.losses.BinaryCrossentropy(from_logits=True)),
        ("sigmoid", keras.losses.BinaryFocalCrossentropy()),
    ],
)
def test_several_labels_are_no_classes(stream, activation, loss, rng):
    """With a given number of classes, the error comes before the first step."""
    model = model_of(5, activation, loss, classes=5)
    before = model.get_weights()
    y = (rng.random((SIZE, 5)) < 0.2).astype("float32")
    with pytest.raises(ValueError, match=r"several labels.*`labels=.*MultiLabels\(5\)"):
        fit(model, stream(x_of(rng), y))
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def _classes(rng):
    return Classes(3), L.Dense(3, "softmax"), "sparse_categorical_crossentropy", None


def _several(rng):
    y = (rng.random((SIZE, 3)) < 0.4).astype("float32")
    return MultiLabels(3), L.Dense(3, "sigmoid"), "binary_crossentropy", y


def _values(rng):
    y = rng.normal(size=(SIZE, 2)).astype("float32")
    return Values(), L.Dense(2), "mse", y


def _positions(rng):
    y = rng.integers(0, 3, (SIZE, 2))
    y[::3, 1] = -100
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-100)
    return Positions(Classes(3)), L.Dense(3, "softmax"), loss, y


#: There are fewer on JAX, which compiles each of them.
FEWER = STREAMS[:1] if BACKEND == "jax" else STREAMS


@pytest.mark.parametrize("stream", FEWER)
@pytest.mark.parametrize("kind", [_classes, _several, _values, _positions])
def test_each_kind_trains_from_a_stream_as_from_arrays(kind, stream, rng):
    labels, head, loss, y = kind(rng)
    x = x_of(rng)
    y = np.arange(SIZE) % 3 if y is None else y
    config = head.get_config()
    histories = []
    for from_stream in (False, True):
        keras.utils.set_random_seed(0)
        hidden = (
            [L.Reshape((2, 3)), L.Dense(4)] if y.dtype == int and y.ndim == 2 else []
        )
        plain = keras.Sequential(
            [
                keras.Input((FEATURES,)),
                *(hidden or [L.Dense(4)]),
                L.Dense.from_config(config),
            ]
        )
        plain.compile("sgd", loss)
        model = keras_modals.augment(plain, seed=0, warmup_steps=0)
        assert model.latent_augmentation.labels == labels
        eager = BACKEND == "tensorflow"
        model.compile("sgd", loss, run_eagerly=eager, jit_compile=BACKEND == "jax")
        if from_stream:
            histories.append(fit(model, stream(x, y), epochs=2, shuffle=False))
        else:
            fitted = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
            histories.append(fitted.history)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5)


@pytest.mark.parametrize("stream", FEWER)
@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (_several, 2.0, r"8 of 32 samples .*25\.0%.*not in \[0, 1\]"),
        (_values, np.nan, r"8 of 32 samples .*25\.0%.*not finite"),
        (_positions, 7, r"16 of 64 samples .*25\.0%.*not valid classes"),
    ],
)
def test_wrong_labels_of_each_kind_are_warned_of(kind, wrong, message, stream, rng):
    labels, _, _, y = kind(rng)
    y[y == -100] = 0
    y[:8] = wrong
    keras.utils.set_random_seed(0)
    hidden = (
        [L.Reshape((2, 3)), L.Dense(3)] if y.dtype == int else [L.Dense(y.shape[1])]
    )
    plain = keras.Sequential([keras.Input((FEATURES,)), L.Dense(6), *hidden])
    model = keras_modals.augment(plain, labels=labels, seed=0)
    model.compile(
        "sgd", lambda y, p: 0.0 * p[:, 0], run_eagerly=BACKEND == "tensorflow"
    )
    with pytest.warns(UserWarning, match=message):
        history = fit(model, stream(x_of(rng), y))
    np.testing.assert_allclose(history["ignored_labels"], [0.25])


def test_one_hot_arrays_beside_a_sigmoid_are_classes(rng):
    model = model_of(5, "sigmoid", "binary_crossentropy", classes=5)
    one_hot = np.eye(5, dtype="float32")[np.arange(SIZE) % 5]
    model.fit(x_of(rng), one_hot, verbose=0)


# What only labels reveal ---------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMS)
def test_wrong_labels_are_logged_and_warned_of_once(stream, rng):
    labels = np.arange(SIZE) % 4
    model = model_of(4, "softmax", lambda y, p: 0.0 * p[:, 0], classes=3)
    with pytest.warns(
        UserWarning, match=r"8 of 32 samples .*25\.0%.*\[0, 3\)"
    ) as found:
        history = fit(model, stream(x_of(rng), labels), epochs=2)
    assert (
        sum("are not valid classes" in str(warning.message) for warning in found) == 1
    )
    np.testing.assert_allclose(history["ignored_labels"], [0.25, 0.25])


def test_rows_of_several_labels_are_warned_of(rng):
    rows = np.eye(3, dtype="float32")[np.arange(SIZE) % 3]
    rows[:5, 0] = rows[:5, 1] = 1.0
    model = model_of(3, "softmax", "categorical_crossentropy")
    with pytest.warns(UserWarning, match="5 of 32 samples"):
        history = fit(model, Batches(x_of(rng), rows))
    np.testing.assert_allclose(history["ignored_labels"], [5 / 32])


@pytest.mark.parametrize("stream", [Batches, tf_data])
def test_samples_that_the_user_gives_no_label_are_no_fault(stream, rng):
    """A warning says once that the model could learn from them."""
    labels = np.where(rng.random(SIZE) < 0.5, -1, np.arange(SIZE) % 3)
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model = model_of(3, "softmax", loss)
    with pytest.warns(UserWarning, match="no label and were not used"):
        history = fit(model, stream(x_of(rng), labels))
    fit(model, stream(x_of(rng), labels))
    np.testing.assert_allclose(history["ignored_labels"], [np.mean(labels == -1)])


@pytest.mark.parametrize("ignored", [2, 255])
def test_a_class_that_the_loss_ignores_is_no_class(ignored, rng):
    labels = np.where(np.arange(SIZE) % 4 == 0, ignored, np.arange(SIZE) % 2)
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    model = model_of(3, "softmax", loss)
    for arguments in ((x_of(rng), labels), (Batches(x_of(rng), labels),)):
        history = model.fit(*arguments, verbose=0).history
        np.testing.assert_allclose(history["ignored_labels"], [0.25])


def test_good_labels_leave_no_log(rng):
    model = model_of(3, "softmax", "sparse_categorical_crossentropy")
    history = fit(model, Batches(x_of(rng), np.arange(SIZE) % 3))
    assert list(history) == ["loss"]


# Batches without mixing partners ---------------------------------------------------


def test_batches_of_one_are_warned_of(rng):
    x, y = x_of(rng), np.arange(SIZE) % 3
    model = model_of(3, "softmax", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="Every batch .* had one sample"):
        model.fit(x, y, batch_size=1, verbose=0)
    policy = keras_modals.Policy.single("gaussian_noise", 0.1)
    model = model_of(3, "softmax", "sparse_categorical_crossentropy", policy=policy)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Every|.*of 32 samples")
        model.fit(x, y, batch_size=1, verbose=0)


def test_no_row_meets_itself():
    """In a batch of two, each is mixed with the other."""
    policy = keras_modals.Policy.single("class_mixing", 1.0)
    layer = keras_modals.LatentAugmentation(2, policy, seed=0)
    layer.build((None, 4))
    labels = keras.ops.convert_to_tensor(np.array([0, 1], "int32"))
    for _ in range(20):
        mixing = StepMixing([layer], of_groups(labels), RowMap(2), layer.seed_generator)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(mixing.partner), [1, 0]
        )


# Targets in other structures ---------------------------------------------------------


def test_a_list_of_numbers_is_refused(rng):
    model = model_of(3, "softmax", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"such as `np\.array\(y\)`"):
        model.fit(x_of(rng), (np.arange(SIZE) % 3).tolist(), verbose=0)


def test_labels_of_a_hinge_loss():
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    y = np.tile([-1.0, 1.0], 12).astype("float32")

    def build(**arguments):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), L.Dense(1, "tanh")])
        model.compile(keras.optimizers.SGD(0.0), "hinge")
        return keras_modals.augment(model, seed=0, **arguments)

    with pytest.raises(ValueError, match="for a hinge loss, need `labels=keras_modals"):
        build().fit(x, y, verbose=0)
    with pytest.warns(UserWarning, match="12 of 24 samples.*need `labels=keras_modals"):
        build().fit(Batches(x, y), verbose=0)
    policy = keras_modals.Policy({"class_mixing": (1.0, 0.0)})
    model = build(labels=Values(), policy=policy)
    expected = model.evaluate(x, y, verbose=0)
    logs = model.fit(Batches(x, y), verbose=0).history
    assert logs["loss"] == [pytest.approx(expected, rel=1e-5)]
