"""Statistics of batch normalization after a training with mixed samples."""

import keras
import numpy as np
import pytest
from keras import layers
from portable import array

from keras_modals import (
    ModalsModel,
    Policy,
    SharedEncoderSearch,
    augment,
    join_unlabeled,
)
from keras_modals._src.data.training_inputs import training_inputs
from keras_modals._src.models.fresh_statistics import FreshStatistics

ROWS, FEATURES, NUM_CLASSES = 48, 5, 3
STILL = Policy({"class_mixing": (0.0, 0.5)}, operation_counts=(0.0, 1.0))


class Block(layers.Layer):
    """A layer with a normalization inside, in a dict inside a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [{"norm": layers.BatchNormalization(name="norm")}]
        # Never built.
        self.unused = layers.BatchNormalization()

    def build(self, shape):
        self.parts[0]["norm"].build(shape)

    def call(self, inputs, training=None):
        return self.parts[0]["norm"](inputs, training=training)


def nested():
    norm = layers.BatchNormalization(name="norm")
    return keras.Sequential([keras.Input((8,)), norm, layers.ReLU()])


def model_of(*inside, dropout=0.0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(8, name="before"),
            *(inside or [layers.BatchNormalization(name="norm")]),
            # Without a seed, PyTorch's own generator draws.
            layers.Dropout(dropout, seed=1),
            layers.Dense(NUM_CLASSES, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def samples(rng):
    x = rng.normal(2.0, 3.0, size=(ROWS, FEATURES)).astype("float32")
    return x, np.arange(ROWS) % NUM_CLASSES


def statistics(model):
    """The moving mean and variance of the layer "norm"."""
    found = {
        variable.path.rpartition("/")[2]: array(variable)
        for variable in model.non_trainable_variables
        if "norm" in variable.path
    }
    return found["moving_mean"], found["moving_variance"]


def expected(model, x):
    """Mean and variance of what the normalization receives at inference."""
    kernel, bias = map(array, model.get_layer("before").weights)
    hidden = x @ kernel + bias
    return hidden.mean(axis=0), hidden.var(axis=0)


def assert_fresh(model, x):
    for value, right in zip(statistics(model), expected(model, x), strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-4)


def as_stream(kind, x, y):
    """The samples as one batch."""
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensors((x, y))
    if kind == "DataLoader":
        utils = pytest.importorskip("torch").utils.data
        rows = [(x[i], y[i]) for i in range(len(x))]
        return utils.DataLoader(rows, batch_size=len(x))

    class OneBatch(keras.utils.PyDataset):
        epochs = 0

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return x, y

        def on_epoch_end(self):
            self.epochs += 1

    return OneBatch()


@pytest.mark.backend
@pytest.mark.parametrize("inside", [layers.BatchNormalization, Block, nested])
def test_they_are_those_of_the_final_weights_and_clean_samples(samples, inside):
    x, y = samples
    part = inside() if inside is not layers.BatchNormalization else inside(name="norm")
    model = augment(model_of(part), warmup_steps=0)
    model.fit(x, y, batch_size=ROWS, epochs=3, verbose=0)
    assert_fresh(model, x)


def test_they_are_means_over_batches(samples):
    x, y = samples
    model = augment(model_of(), warmup_steps=0)
    model.fit(x, y, batch_size=ROWS // 4, epochs=2, verbose=0)
    mean, variance = expected(model, x)
    np.testing.assert_allclose(statistics(model)[0], mean, rtol=1e-4, atol=1e-4)
    # The variances within batches leave out that among the batches' means.
    assert np.all(statistics(model)[1] < variance)
    assert np.all(statistics(model)[1] > 0.5 * variance)


@pytest.mark.backend
@pytest.mark.parametrize("kind", ["PyDataset", "tf.data", "DataLoader"])
def test_streams(samples, kind):
    stream, plain = as_stream(kind, *samples), as_stream(kind, *samples)
    model = augment(model_of(), warmup_steps=0)
    model.fit(stream, epochs=3, shuffle=False, verbose=0)
    assert_fresh(model, samples[0])
    # Reading the stream again is not an epoch.
    model_of().fit(plain, epochs=3, shuffle=False, verbose=0)
    assert getattr(stream, "epochs", 3) == getattr(plain, "epochs", 3)


def test_samples_split_off_for_validation_have_no_part(samples):
    x, y = samples
    model = augment(model_of(), warmup_steps=0)
    model.fit(x, y, batch_size=ROWS, validation_split=0.25, epochs=2, verbose=0)
    assert_fresh(model, x[: ROWS * 3 // 4])


def test_a_generator_cannot_be_read_twice(samples):
    batches = (samples for _ in range(4))
    model = augment(model_of(), warmup_steps=0)
    with pytest.warns(UserWarning, match="can read the samples twice"):
        model.fit(batches, steps_per_epoch=3, shuffle=False, verbose=0)
    moved, _ = statistics(model)
    # The moving average, which starts at 0.
    assert np.all(np.abs(moved) < 0.05 * np.abs(expected(model, samples[0])[0]) + 0.05)


@pytest.mark.backend
def test_validation_and_stored_weights_use_them(samples, tmp_path):
    x, y = samples
    path = str(tmp_path / "best.weights.h5")
    model = augment(model_of(), warmup_steps=0)
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    history = model.fit(
        *(x, y, ROWS),
        epochs=3,
        validation_data=(x, y),
        callbacks=[checkpoint],
        verbose=0,
    )
    loss, accuracy = model.evaluate(x, y, batch_size=ROWS, verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(loss, rel=1e-5)
    assert history.history["val_accuracy"][-1] == pytest.approx(accuracy)
    model.load_weights(path)
    assert_fresh(model, x)


def test_training_is_not_changed(samples, monkeypatch):
    def losses():
        model = augment(model_of(dropout=0.5), warmup_steps=0)
        history = model.fit(*samples, batch_size=16, epochs=4, verbose=0)
        return history.history["loss"], model

    fresh, model = losses()
    momentum = model.get_layer("norm").momentum
    monkeypatch.setattr(FreshStatistics, "replace", lambda self: None)
    lagging, _ = losses()
    assert fresh == lagging
    assert momentum == 0.99


def test_a_policy_that_moves_nothing_leaves_moving_averages(samples):
    plain = model_of(dropout=0.5)
    model = augment(plain, policy=STILL)
    history = [
        each.fit(*samples, batch_size=16, epochs=2, shuffle=False, verbose=0).history
        for each in (plain, model)
    ]
    assert history[0]["loss"] == pytest.approx(history[1]["loss"], rel=1e-5)
    for value, right in zip(statistics(model), statistics(plain), strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5, atol=1e-6)


def test_frozen_statistics_stay(samples):
    norm = layers.BatchNormalization(name="norm", trainable=False)
    model = augment(model_of(norm), warmup_steps=0)
    before = statistics(model)
    model.fit(*samples, batch_size=16, epochs=2, verbose=0)
    for value, right in zip(statistics(model), before, strict=True):
        np.testing.assert_array_equal(value, right)


def test_raw_samples_are_preprocessed(samples):
    pytest.importorskip("tensorflow")
    x, y = samples
    model = augment(model_of(), warmup_steps=0)
    model.preprocessor = lambda raw: raw * 2.0
    model.fit(x, y, batch_size=ROWS, epochs=2, verbose=0)
    assert_fresh(model, 2.0 * x)


@pytest.mark.backend
def test_a_search_replaces_those_of_its_encoder(samples):
    x, y = samples
    policy = Policy({"class_mixing": (0.5, 0.5)}, operation_counts=(0.0, 1.0))
    model = augment(model_of(), "head", policy=policy, warmup_steps=0)
    search = SharedEncoderSearch(model, 2, seed=0)
    search.fit(x, y, batch_size=ROWS, epochs=2, validation_data=(x, y), verbose=0)
    assert_fresh(search, x)
    assert_fresh(search.best_model(), x)


@pytest.mark.backend
@pytest.mark.parametrize("swaps", [False, True])
def test_averaged_weights_have_their_own(samples, swaps):
    x, y = samples
    plain = model_of()
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    plain.compile(optimizer, "sparse_categorical_crossentropy")
    model = augment(plain, warmup_steps=0)
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if swaps else []
    history = model.fit(
        *(x, y, ROWS),
        epochs=3,
        validation_data=(x, y),
        callbacks=callbacks,
        verbose=0,
    )
    assert_fresh(model, x)
    if swaps:
        loss = model.evaluate(x, y, batch_size=ROWS, verbose=0)
        assert history.history["val_loss"][-1] == pytest.approx(loss, rel=1e-5)


def test_a_stored_epoch_has_them_without_validation(samples, tmp_path):
    x, y = samples
    path = str(tmp_path / "last.weights.h5")
    plain = model_of()
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    plain.compile(optimizer, "sparse_categorical_crossentropy")
    model = augment(plain, warmup_steps=0)
    callbacks = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(path, save_weights_only=True),
    ]
    model.fit(x, y, ROWS, epochs=2, callbacks=callbacks, verbose=0)
    model.load_weights(path)
    assert_fresh(model, x)


@pytest.mark.backend
def test_each_call_of_a_shared_layer_counts(samples):
    x, y = samples
    one, other = keras.Input((FEATURES,)), keras.Input((FEATURES,))
    before = layers.Dense(8, name="before")
    norm = layers.BatchNormalization(name="norm")
    hidden = layers.Add()([norm(before(one)), norm(before(other))])
    model = keras.Model([one, other], layers.Dense(NUM_CLASSES, "softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy")
    model = augment(model, "head", warmup_steps=0)
    model.fit([x, x + 10.0], y, batch_size=ROWS, epochs=2, verbose=0)
    pairs = zip(expected(model, x), expected(model, x + 10.0), strict=True)
    for value, pair in zip(statistics(model), pairs, strict=True):
        np.testing.assert_allclose(value, np.mean(pair, axis=0), rtol=1e-4, atol=1e-4)


def test_batches_count_by_their_rows(samples):
    x, y = samples

    class Uneven(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            rows = slice(0, 40) if index == 0 else slice(40, None)
            return x[rows], y[rows]

    model = augment(model_of(), warmup_steps=0)
    model.fit(Uneven(), epochs=2, verbose=0)
    mean, _ = expected(model, x)
    np.testing.assert_allclose(statistics(model)[0], mean, rtol=1e-4, atol=1e-4)


def test_batches_of_a_sorted_dataset_are_drawn():
    class Sorted(keras.utils.PyDataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return np.full((4, 1), index), np.zeros(4)

    found = training_inputs({"x": Sorted()}, 10)
    indices = {int(batch[0, 0]) for batch in found}
    assert len(indices) == 10
    # Some of each third.
    assert {index // 10 for index in indices} == {0, 1, 2}


def test_streams_of_joined_data_do_not_advance(samples):
    x, y = samples
    stream = list(zip(np.split(x, 3), np.split(y, 3), strict=True))

    def read_with(layer):
        # An epoch ends within a pass over the stream.
        data = join_unlabeled(stream, x, num_batches=2, seed=0)
        read, take = [], data._labeled

        def watched(*place):
            batch = take(*place)
            read.append(float(batch[0][0, 0]))
            return batch

        data._labeled = watched
        model = augment(model_of(layer), warmup_steps=0)
        model.compile("adam", "sparse_categorical_crossentropy", consistency_weight=1.0)
        model.fit(data, epochs=2, shuffle=False, verbose=0)
        return read

    assert read_with(layers.BatchNormalization()) == read_with(layers.ReLU())


@pytest.mark.parametrize("kind", ["optional input", "sparse matrix"])
def test_rare_kinds_of_data(samples, kind):
    x, y = samples
    model = model_of()
    if kind == "optional input":
        inputs = {
            "given": keras.Input((FEATURES,), name="given"),
            "lacking": keras.Input((1,), name="lacking", optional=True),
        }
        hidden = layers.Dense(8, name="before")(inputs["given"])
        hidden = layers.BatchNormalization(name="norm")(hidden)
        model = keras.Model(inputs, layers.Dense(NUM_CLASSES, "softmax")(hidden))
        model.compile("adam", "sparse_categorical_crossentropy")
        data = {"given": x, "lacking": None}
    else:
        data = pytest.importorskip("scipy.sparse").csr_matrix(x)
    model = augment(model, "head", warmup_steps=0)
    model.fit(data, y, batch_size=ROWS, epochs=2, verbose=0)
    assert_fresh(model, x)


def test_validation_data_take_precedence_over_a_split(samples):
    x, y = samples
    model = augment(model_of(), warmup_steps=0)
    given = {"validation_split": 0.25, "validation_data": (x, y)}
    model.fit(x, y, batch_size=ROWS, epochs=2, verbose=0, **given)
    assert_fresh(model, x)


def test_a_model_that_is_not_compiled_says_so(samples):
    compiled = augment(model_of(), warmup_steps=0)
    model = ModalsModel(compiled.input, compiled.output)
    with pytest.raises(ValueError, match="compile"):
        model.fit(*samples, verbose=0)
