"""Scripts of five kinds of users."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras_hub_test import text_classifier
from portable import BACKEND, array
from sklearn.preprocessing import LabelEncoder

import keras_modals

# Keras issues this warning for every dataset.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
]

FAST = {"batch_size": 16, "verbose": 0}
# XLA would take most of the time on TensorFlow.
QUICK = {"jit_compile": BACKEND == "jax"}


def means(result):
    return result.summary().loc["data", "mean"]


# Images of a rare disease ----------------------------------------------------------


def write_images(folder, counts, rng):
    """Writes dark images. Those of ill patients have a bright spot."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = rng.uniform(0, 80, (12, 12, 1))
            if name == "ill":
                row, column = rng.integers(0, 8, 2)
                image[row : row + 4, column : column + 4] += 150
            keras.utils.save_img(folder / name / f"{number}.png", image, scale=False)


@pytest.mark.slow
@pytest.mark.backend
def test_images_of_a_rare_disease(rng, tmp_path):
    write_images(tmp_path / "train", {"healthy": 64, "ill": 16}, rng)
    write_images(tmp_path / "test", {"healthy": 24, "ill": 8}, rng)

    read = {"image_size": (12, 12), "color_mode": "grayscale", "batch_size": 8}
    train, validation = keras.utils.image_dataset_from_directory(
        tmp_path / "train", validation_split=0.4, subset="both", seed=1, **read
    )
    test = keras.utils.image_dataset_from_directory(tmp_path / "test", **read)

    def build():
        model = keras.Sequential(
            [
                keras.Input((12, 12, 1)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.GlobalMaxPooling2D(),
                keras.layers.Dense(8, "relu"),
                keras.layers.Dense(2, "softmax"),
            ]
        )
        adam = keras.optimizers.Adam(0.01)
        loss = "sparse_categorical_crossentropy"
        model.compile(adam, loss, metrics=["accuracy"], **QUICK)
        return model

    weights = {0: 0.6, 1: 2.5}
    model = keras_modals.augment(build(), seed=0)
    model.fit(train, epochs=15, class_weight=weights, verbose=0)
    assert model.evaluate(test, verbose=0, return_dict=True)["accuracy"] > 0.9

    result = keras_modals.compare(
        build,
        {"train": train, "validation": validation, "test": test},
        ["none", "latent mixing", "oversampling"],
        seeds=1,
        epochs=15,
        metric="balanced_accuracy",
        class_weight=weights,
        verbose=0,
    )
    assert result.skipped == {
        "oversampling": "not applicable, needs arrays, not a dataset"
    }
    assert (means(result) > 90).all()
    assert result.best_model().predict(test, verbose=0).shape == (32, 2)


# Texts for KerasHub ------------------------------------------------------------------


def test_texts_as_they_are():
    texts = ["good film", "bad film", "the good plot", "the bad plot"] * 12
    labels = np.array([1, 0, 1, 0] * 12)

    def build():
        task = text_classifier()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        task.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], **QUICK)
        return task

    model = keras_modals.augment(build(), seed=0)
    model.fit(texts, labels, batch_size=8, epochs=5, verbose=0)
    assert array(model.predict_on_batch(texts[:4])).argmax(-1).tolist() == [1, 0, 1, 0]

    names = ["none", "latent mixing", "SMOTE"]
    result = keras_modals.compare(
        build, (texts, labels), names, 1, epochs=8, batch_size=8, verbose=0
    )
    assert list(result.skipped) == ["SMOTE"]
    assert means(result).to_dict() == {"none": 100, "latent mixing": 100}


# Sequences ---------------------------------------------------------------------------


def build_recurrent(units, activation=None):
    return keras.Sequential(
        [
            keras.Input((None, 2)),
            keras.layers.Masking(-9.0),
            keras.layers.LSTM(8),
            keras.layers.Dense(units, activation),
        ]
    )


def test_sequences_of_different_length(rng):
    labels = np.arange(80) % 2
    # Sequences of one class rise, and those of the other fall.
    sequences = [
        np.linspace(-sign, sign, length)[:, None] + rng.normal(0, 0.1, (length, 2))
        for sign, length in zip(2 * labels - 1, rng.integers(4, 9, 80))
    ]

    def build():
        model = build_recurrent(2, "softmax")
        adam = keras.optimizers.Adam(0.05)
        loss = "sparse_categorical_crossentropy"
        model.compile(adam, loss, metrics=["accuracy"], **QUICK)
        return model

    with pytest.raises(ValueError, match=r"`keras\.utils\.pad_sequences\(x\)`"):
        keras_modals.compare(build, (sequences, labels), **FAST)
    x = keras.utils.pad_sequences(sequences, dtype="float32", value=-9.0)

    model = keras_modals.augment(build(), seed=0)
    model.fit(x, labels, epochs=6, verbose=0)
    # Padding has no effect.
    longer = keras.utils.pad_sequences(sequences, 12, dtype="float32", value=-9.0)
    outputs = [array(model.predict_on_batch(each)) for each in (x, longer)]
    np.testing.assert_allclose(*outputs, atol=1e-5)

    result = keras_modals.compare(
        build, (x, labels), ["none", "latent mixing"], 1, epochs=6, **FAST
    )
    assert (means(result) > 90).all()


@pytest.mark.slow
@pytest.mark.backend
def test_windows_of_a_series():
    time = np.arange(200)
    series = np.stack([np.sin(time / 4), np.cos(time / 4)], axis=-1).astype("float32")
    ends = {"train": (0, 110), "validation": (110, 150), "test": (150, 199)}
    # Predict the next value of the first column.
    data = {
        part: keras.utils.timeseries_dataset_from_array(
            series[start : end - 8],
            series[start + 8 : end, 0],
            sequence_length=8,
            batch_size=16,
        )
        for part, (start, end) in ends.items()
    }

    def build():
        model = build_recurrent(1)
        model.compile(keras.optimizers.Adam(0.03), "mse", **QUICK)
        return model

    model = keras_modals.augment(build(), seed=0)
    model.fit(data["train"], validation_data=data["validation"], epochs=1, verbose=0)
    assert model.latent_augmentation.labels == keras_modals.Values()

    names = ["none", "latent mixing", "label smoothing"]
    result = keras_modals.compare(build, data, names, 1, epochs=15, verbose=0)
    assert list(result.skipped) == ["label smoothing"]
    assert result.metric == "r2"
    assert (means(result) > 80).all()


# A table -----------------------------------------------------------------------------


def make_table(rng):
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["age", "dose", "weight"])
    return frame.astype("float32")


def build_dense(units, activation, loss):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dense(units, activation),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), loss, **QUICK)
    return model


def test_a_table_with_names_of_classes(rng):
    frame = make_table(rng)
    names = np.where(frame["dose"] > 0, "better", "worse")
    encoder = LabelEncoder()
    labels = encoder.fit_transform(names)

    def build():
        return build_dense(2, "softmax", "sparse_categorical_crossentropy")

    model = keras_modals.augment(build(), seed=0)
    model.fit(frame, labels, epochs=15, verbose=0)
    predicted = encoder.inverse_transform(model.predict(frame, verbose=0).argmax(-1))
    assert (predicted == names).mean() > 0.9

    methods = ["none", "latent mixing", "SMOTE"]
    data = frame, pd.Series(labels)
    result = keras_modals.compare(build, data, methods, 1, epochs=15, **FAST)
    assert (means(result) > 85).all()

    frame.insert(0, "sex", np.where(frame["age"] > 0, "f", "m"))
    with pytest.raises(
        ValueError,
        match=r"numeric inputs: encode strings.*get_dummies\(x\)\.astype",
    ):
        keras_modals.compare(build, (frame, labels), **FAST)


def test_a_table_with_numbers_to_predict(rng):
    frame = make_table(rng)
    prices = 2 * frame["dose"] - frame["age"]

    def build():
        return build_dense(1, None, "mse")

    model = keras_modals.augment(build(), seed=0)
    assert model.latent_augmentation.labels == keras_modals.Values()
    model.fit(frame, prices, epochs=2, verbose=0)

    result = keras_modals.compare(
        build,
        (frame, prices),
        ["none", "latent mixing", "C-Mixup"],
        1,
        epochs=30,
        **FAST,
    )
    assert result.metric == "r2"
    assert result.skipped == {}
    assert (means(result) > 80).all()


# An image, a text and a table --------------------------------------------------------


def test_an_image_a_text_and_a_table(rng):
    labels = np.arange(96) % 3
    # Each input distinguishes one of three classes from the others.
    images = rng.uniform(0, 0.3, (96, 8, 8, 1)) + (labels == 0)[:, None, None, None]
    notes = [f"{'rash' if label == 1 else 'no'} fever today" for label in labels]
    table = rng.normal(0, 0.3, (96, 4)) + (labels == 2)[:, None]

    vectorize = keras.layers.TextVectorization(output_sequence_length=4)
    vectorize.adapt(notes)
    x = {
        "image": images.astype("float32"),
        "note": array(vectorize(notes)),
        "table": table.astype("float32"),
    }

    def build():
        inputs = {
            "image": keras.Input((8, 8, 1), name="image"),
            "note": keras.Input((4,), dtype="int32", name="note"),
            "table": keras.Input((4,), name="table"),
        }
        image = keras.layers.Conv2D(4, 3, activation="relu")(inputs["image"])
        image = keras.layers.GlobalAveragePooling2D()(image)
        note = keras.layers.Embedding(vectorize.vocabulary_size(), 4)(inputs["note"])
        note = keras.layers.GlobalAveragePooling1D()(note)
        table = keras.layers.Dense(4, "relu")(inputs["table"])
        latents = keras.layers.Concatenate(name="latents")([image, note, table])
        outputs = keras.layers.Dense(3, "softmax")(latents)
        model = keras.Model(inputs, outputs)
        adam = keras.optimizers.Adam(0.05)
        loss = "sparse_categorical_crossentropy"
        model.compile(adam, loss, metrics=["accuracy"], **QUICK)
        return model

    model = keras_modals.augment(build(), seed=0)
    model.fit(x, labels, epochs=15, verbose=0)
    assert model.evaluate(x, labels, verbose=0, return_dict=True)["accuracy"] > 0.9

    names = ["none", "latent mixing", "SMOTE"]
    result = keras_modals.compare(build, (x, labels), names, 1, epochs=15, **FAST)
    assert list(result.skipped) == ["SMOTE"]
    assert (means(result) > 85).all()
    assert result.best_model().predict(x, verbose=0).shape == (96, 3)
