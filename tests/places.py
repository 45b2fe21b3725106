"""Small models with the graphs of keras.io's code examples, and data for them.

Each is written from scratch after a description of the example: the same kinds of
layers in the same order, narrow enough to train an epoch in a second. Custom layers are
like those of many users: most have no `**kwargs` and no `get_config`, and use functions
that are not registered.

`python tests/places.py` prints the outcome of `keras_modals.augment` for each.
"""

import dataclasses
import itertools
import sys
import warnings

import keras
import numpy as np
from keras import layers, ops

#: Builders by name, in the order of the table that is printed.
PLACES = {}

#: Models that contain strings or TensorFlow preprocessing.
TENSORFLOW_ONLY = (
    "text_classification_vectorizer_inside",
    "text_classification_end_to_end",
    "structured_data_lookups_inside",
    "structured_data_feature_space",
    "structured_data_feature_space_end_to_end",
)


@dataclasses.dataclass
class Place:
    """A compiled model with its data.

    Attributes:
        model: Model, compiled as in the example.
        x: Arrays, or a stream of (inputs, labels) where the example has one.
        y: Labels, `None` with a stream.
        fit: Further arguments of `fit`.
    """

    model: keras.Model
    x: object
    y: object = None
    fit: dict = dataclasses.field(default_factory=dict)

    def train(self, model):
        """Trains a model like this one for an epoch, and returns its loss."""
        arguments = {"epochs": 1, "shuffle": False, "verbose": 0, **self.fit}
        # Layers without a seed of their own draw the same for each model.
        keras.utils.set_random_seed(0)
        return model.fit(self.x, self.y, **arguments).history["loss"][0]

    def predict(self, model):
        return model.predict(self.x, verbose=0)


def place(builder):
    PLACES[builder.__name__] = builder
    return builder


# Data ------------------------------------------------------------------------


def _rng():
    return np.random.default_rng(0)


def _numbers(*shape):
    return _rng().normal(size=shape).astype("float32")


def _images(*shape):
    return _rng().uniform(0, 255, shape).astype("float32")


def _tokens(size, length, words=50, dtype="int32"):
    """Returns texts of at least one word, padded with zeros at the end."""
    tokens = _rng().integers(1, words, (size, length))
    lengths = _rng().integers(1, length + 1, (size, 1))
    return np.where(np.arange(length) < lengths, tokens, 0).astype(dtype)


def _classes(size, num_classes=2):
    return _rng().permutation(np.arange(size) % num_classes).astype("int32")


def _one_hot(size, num_classes):
    return np.eye(num_classes, dtype="float32")[_classes(size, num_classes)]


def _stream(*parts, batch_size=8):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)


def _sentences(size):
    words = np.array(["a", "good", "bad", "film", "plot", "the", "<br />", "Well!"])
    return np.array([[" ".join(row)] for row in _rng().choice(words, (size, 9))])


# Images ----------------------------------------------------------------------


@place
def mnist_convnet():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return Place(
        model, _numbers(20, 16, 16, 1), _one_hot(20, 10), {"validation_split": 0.1}
    )


def _normalized(x):
    return layers.Activation("relu")(layers.BatchNormalization()(x))


@place
def image_classification_from_scratch():
    inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = _normalized(layers.Conv2D(4, 3, strides=2, padding="same")(x))
    x = before = _normalized(layers.Conv2D(8, 3, padding="same")(x))
    for width in (8, 12, 12, 16):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(width, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        skip = layers.Conv2D(width, 1, strides=2, padding="same")(before)
        x = before = layers.add([x, skip])
    x = _normalized(layers.SeparableConv2D(16, 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.25)(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(
        keras.optimizers.Adam(3e-4),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="acc")],
    )
    return Place(model, _stream(_images(16, 24, 24, 3), _classes(16)))


class CCTTokenizer(layers.Layer):
    def __init__(self, width=16):
        super().__init__()
        self.convolutions = keras.Sequential(
            [
                layers.Conv2D(width, 3, padding="same", use_bias=False),
                layers.ReLU(),
                layers.MaxPooling2D(3, 2, "same"),
                layers.Conv2D(width, 3, padding="same", use_bias=False),
                layers.ReLU(),
                layers.MaxPooling2D(3, 2, "same"),
            ]
        )

    def call(self, images):
        x = self.convolutions(images)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


class PositionEmbedding(layers.Layer):
    def __init__(self, length):
        super().__init__()
        self.length = length

    def build(self, shape):
        self.positions = self.add_weight(shape=(self.length, shape[-1]))

    def call(self, x):
        return ops.broadcast_to(self.positions, ops.shape(x))


class StochasticDepth(layers.Layer):
    def __init__(self, rate, seed=1):
        super().__init__()
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=None):
        if not training:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        draw = keras.random.uniform(shape, seed=self.seed_generator)
        return x / (1 - self.rate) * ops.floor(1 - self.rate + draw)


class SequencePooling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.attention = layers.Dense(1)

    def call(self, x):
        weights = ops.transpose(ops.softmax(self.attention(x), axis=1), (0, 2, 1))
        return ops.squeeze(ops.matmul(weights, x), axis=-2)


def _mlp(x, widths, rate=0.1):
    for width in widths:
        x = layers.Dense(width, activation=keras.activations.gelu)(x)
        x = layers.Dropout(rate)(x)
    return x


def _cct(pool):
    augmentation = keras.Sequential(
        [layers.Rescaling(1 / 255), layers.RandomFlip("horizontal")],
        name="data_augmentation",
    )
    inputs = keras.Input((16, 16, 3))
    tokens = CCTTokenizer()(augmentation(inputs))
    # An operation. The layers below have the same name.
    x = tokens + PositionEmbedding(16)(tokens)
    for rate in (0.0, 0.1):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.MultiHeadAttention(2, 8, dropout=0.1)(y, y)
        x = layers.Add()([StochasticDepth(rate)(y), x])
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = _mlp(y, (16, 16))
        x = layers.Add()([x, StochasticDepth(rate)(y)])
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    model = keras.Model(inputs, layers.Dense(10)(pool(x)))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top-5-accuracy"),
        ],
    )
    return Place(model, _images(16, 16, 16, 3), _one_hot(16, 10))


@place
def cct():
    return _cct(SequencePooling())


@place
def cct_operations():
    def pool(x):
        weights = ops.softmax(layers.Dense(1)(x), axis=1)
        x = ops.matmul(ops.transpose(weights, (0, 2, 1)), x)
        return ops.squeeze(x, axis=-2)

    return _cct(pool)


class Patches(layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, images):
        x = ops.image.extract_patches(images, size=self.size)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


class PatchEncoder(layers.Layer):
    """Holds an `Embedding` of positions, and takes floats."""

    def __init__(self, num_patches, width):
        super().__init__()
        self.num_patches = num_patches
        self.projection = layers.Dense(width)
        self.positions = layers.Embedding(num_patches, width)

    def call(self, patches):
        positions = ops.expand_dims(ops.arange(self.num_patches), 0)
        return self.projection(patches) + self.positions(positions)


@place
def vision_transformer():
    x = _images(16, 16, 16, 3)
    augmentation = keras.Sequential(
        [
            layers.Normalization(),
            layers.Resizing(18, 18),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.02),
        ],
        name="data_augmentation",
    )
    augmentation.layers[0].adapt(x)
    inputs = keras.Input((16, 16, 3))
    z = PatchEncoder(9, 16)(Patches(6)(augmentation(inputs)))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(z)
        y = layers.MultiHeadAttention(2, 8, dropout=0.1)(y, y)
        y_and_z = layers.Add()([y, z])
        y = layers.LayerNormalization(epsilon=1e-6)(y_and_z)
        z = layers.Add()([_mlp(y, (32, 16)), y_and_z])
    z = layers.LayerNormalization(epsilon=1e-6)(z)
    z = layers.Dropout(0.5)(layers.Flatten()(z))
    z = _mlp(z, (32, 16), 0.5)
    model = keras.Model(inputs, layers.Dense(20)(z))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top-5-accuracy"),
        ],
    )
    return Place(model, x, _classes(16, 20)[:, None])


class MLPMixerLayer(layers.Layer):
    def __init__(self, num_patches, width, rate):
        super().__init__()
        self.patch_mlp, self.feature_mlp = (
            keras.Sequential(
                [
                    layers.Dense(units, activation="gelu"),
                    layers.Dense(units),
                    layers.Dropout(rate),
                ]
            )
            for units in (num_patches, width)
        )
        self.normalize = layers.LayerNormalization(epsilon=1e-6)

    def call(self, inputs):
        x = ops.transpose(self.normalize(inputs), (0, 2, 1))
        x = ops.transpose(self.patch_mlp(x), (0, 2, 1)) + inputs
        return x + self.feature_mlp(self.normalize(x))


@place
def mlp_image_classification():
    x = _images(16, 16, 16, 3)
    augmentation = keras.Sequential(
        [layers.Normalization(), layers.RandomFlip("horizontal")],
        name="data_augmentation",
    )
    augmentation.layers[0].adapt(x)
    inputs = keras.Input((16, 16, 3))
    z = layers.Dense(16)(Patches(4)(augmentation(inputs)))
    z = keras.Sequential([MLPMixerLayer(16, 16, 0.2) for _ in range(2)])(z)
    z = layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(z))
    model = keras.Model(inputs, layers.Dense(20)(z))
    model.compile(
        keras.optimizers.AdamW(5e-3, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="acc"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5-acc"),
        ],
    )
    return Place(model, x, _classes(16, 20)[:, None])


@place
def oxford_pets_image_segmentation():
    inputs = keras.Input((16, 16, 3))
    x = before = _normalized(layers.Conv2D(4, 3, strides=2, padding="same")(inputs))
    for width in (4, 8):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(width, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        skip = layers.Conv2D(width, 1, strides=2, padding="same")(before)
        x = before = layers.add([x, skip])
    for width in (8, 4, 4):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.Conv2DTranspose(width, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        skip = layers.Conv2D(width, 1, padding="same")(layers.UpSampling2D(2)(before))
        x = before = layers.add([layers.UpSampling2D(2)(x), skip])
    outputs = layers.Conv2D(3, 3, activation="softmax", padding="same")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    masks = _rng().integers(0, 3, (16, 16, 16, 1)).astype("uint8")
    return Place(model, _stream(_numbers(16, 16, 16, 3), masks))


@place
def xray_classification():
    def convolutions(width):
        return keras.Sequential(
            [
                layers.SeparableConv2D(width, 3, activation="relu", padding="same"),
                layers.SeparableConv2D(width, 3, activation="relu", padding="same"),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
            ]
        )

    def dense(width, rate):
        return keras.Sequential(
            [
                layers.Dense(width, activation="relu"),
                layers.BatchNormalization(),
                layers.Dropout(rate),
            ]
        )

    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(inputs)
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(x)
    x = layers.MaxPooling2D()(x)
    for width in (4, 8, 8):
        x = convolutions(width)(x)
    # Without a seed, PyTorch draws in memory order, which an inserted layer may change.
    x = layers.Dropout(0.2, seed=0)(x)
    x = layers.Dropout(0.2, seed=1)(convolutions(16)(x))
    x = layers.Flatten()(x)
    for width, rate in ((16, 0.7), (12, 0.5), (8, 0.3)):
        x = dense(width, rate)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.015, 100, 0.96, True)
        ),
        "binary_crossentropy",
        metrics=[
            keras.metrics.BinaryAccuracy(),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
        ],
    )
    data = _stream(_images(16, 32, 32, 3) / 255, _classes(16))
    return Place(model, data, fit={"class_weight": {0: 1.5, 1: 0.7}})


@place
def efficientnet_fine_tuning():
    """Uses a frozen base with squeeze-and-excitation and skips, not EfficientNet."""

    def activated(x):
        return layers.Activation("silu")(layers.BatchNormalization()(x))

    inputs = keras.Input((24, 24, 3))
    x = layers.Normalization(mean=[0.5] * 3, variance=[0.1] * 3, name="normalization")(
        layers.Rescaling(1 / 255, name="rescaling")(inputs)
    )
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="stem_conv_pad")(x)
    x = activated(layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem_conv")(x))
    for _ in range(2):
        y = activated(layers.Conv2D(16, 1, use_bias=False)(x))
        y = activated(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        squeezed = layers.Reshape((1, 1, 16))(layers.GlobalAveragePooling2D()(y))
        squeezed = layers.Conv2D(4, 1, activation="silu")(squeezed)
        y = layers.multiply([y, layers.Conv2D(16, 1, activation="sigmoid")(squeezed)])
        y = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))
        x = layers.add([layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(y), x])
    x = layers.Conv2D(32, 1, use_bias=False, name="top_conv")(x)
    x = layers.BatchNormalization(name="top_bn")(x)
    base = keras.Model(inputs, layers.Activation("silu", name="top_activation")(x))
    base.trainable = False
    x = layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.2, name="top_dropout")(x)
    outputs = layers.Dense(12, activation="softmax", name="pred")(x)
    model = keras.Model(inputs, outputs, name="EfficientNet")
    model.compile(
        keras.optimizers.Adam(1e-2), "categorical_crossentropy", metrics=["accuracy"]
    )
    return Place(model, _stream(_images(16, 24, 24, 3), _one_hot(16, 12)))


@place
def image_classification_3d():
    inputs = keras.Input((16, 16, 8, 1))
    x = inputs
    for width in (4, 8, 8):
        x = layers.Conv3D(width, 3, activation="relu", padding="same")(x)
        x = layers.BatchNormalization()(layers.MaxPool3D(2)(x))
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dropout(0.3)(layers.Dense(16, activation="relu")(x))
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs, name="3dcnn")
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(1e-4, 100, 0.96, True)
        ),
        "binary_crossentropy",
        metrics=["acc"],
    )
    data = _stream(_numbers(8, 16, 16, 8, 1), _classes(8), batch_size=2)
    return Place(model, data)


# Text ------------------------------------------------------------------------


def _text_layers(x):
    """The layers after the token ids in text_classification_from_scratch."""
    x = layers.Dropout(0.5)(layers.Embedding(50, 12)(x))
    for _ in range(2):
        x = layers.Conv1D(12, 5, strides=2, padding="valid", activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.5)(layers.Dense(12, activation="relu")(x))
    return layers.Dense(1, activation="sigmoid", name="predictions")(x)


def _text_model():
    inputs = keras.Input((None,), dtype="int64")
    model = keras.Model(inputs, _text_layers(inputs))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


@place
def text_classification_from_scratch():
    data = _stream(_tokens(16, 20, dtype="int64"), _classes(16))
    return Place(_text_model(), data)


def _without_breaks(texts):
    import tensorflow as tf

    texts = tf.strings.regex_replace(tf.strings.lower(texts), "<br />", " ")
    return tf.strings.regex_replace(texts, "[!?.]", "")


def _vectorizer(texts):
    vectorizer = layers.TextVectorization(
        standardize=_without_breaks, max_tokens=50, output_sequence_length=20
    )
    vectorizer.adapt(texts)
    return vectorizer


@place
def text_classification_vectorizer_inside():
    texts = _sentences(16)
    inputs = keras.Input((1,), dtype="string", name="text")
    model = keras.Model(inputs, _text_layers(_vectorizer(texts)(inputs)))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return Place(model, _stream(texts, _classes(16)))


@place
def text_classification_end_to_end():
    texts = _sentences(16)
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, _text_model()(_vectorizer(texts)(inputs)))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return Place(model, _stream(texts, _classes(16)))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, length, words, width):
        super().__init__()
        self.tokens = layers.Embedding(words, width)
        self.positions = layers.Embedding(length, width)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(ops.shape(x)[-1]))


class TransformerBlock(layers.Layer):
    def __init__(self, width, heads, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.feed_forward = self.make_feed_forward(width)
        self.normalize_1 = layers.LayerNormalization(epsilon=1e-6)
        self.normalize_2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout_1, self.dropout_2 = layers.Dropout(rate), layers.Dropout(rate)

    def make_feed_forward(self, width):
        return keras.Sequential([layers.Dense(width, "relu"), layers.Dense(width)])

    def call(self, x):
        x = self.normalize_1(x + self.dropout_1(self.attention(x, x)))
        return self.normalize_2(x + self.dropout_2(self.feed_forward(x)))


@place
def text_classification_with_transformer():
    # Token ids as floats.
    inputs = keras.Input((20,))
    x = TokenAndPositionEmbedding(20, 50, 16)(inputs)
    x = TransformerBlock(16, 2)(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(12, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Place(model, _tokens(16, 20), _classes(16))


def _bidirectional(mask_zero):
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(50, 12, mask_zero=mask_zero)(inputs)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(6))(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return Place(model, _tokens(16, 8), _classes(16), {"batch_size": 8})


@place
def bidirectional_lstm_imdb():
    return _bidirectional(mask_zero=False)


@place
def bidirectional_lstm_imdb_masked():
    return _bidirectional(mask_zero=True)


@place
def pretrained_word_embeddings():
    embedding = layers.Embedding(50, 12, trainable=False)
    embedding.build((1,))
    embedding.set_weights([_numbers(50, 12)])
    inputs = keras.Input((None,), dtype="int32")
    x = embedding(inputs)
    for _ in range(2):
        x = layers.MaxPooling1D(2)(layers.Conv1D(12, 3, activation="relu")(x))
    x = layers.Conv1D(12, 3, activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.5)(layers.Dense(12, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(20, activation="softmax")(x))
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["acc"])
    return Place(model, _tokens(20, 30), _classes(20, 20))


@place
def active_learning_review_classification():
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Embedding(50, 12),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.GlobalMaxPooling1D(),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        "rmsprop",
        "binary_crossentropy",
        metrics=[
            keras.metrics.BinaryAccuracy(),
            keras.metrics.FalseNegatives(),
            keras.metrics.FalsePositives(),
        ],
    )
    return Place(model, _stream(_tokens(16, 10), _classes(16)))


def _bert():
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        max_sequence_length=16,
    )


def _bert_inputs(size):
    tokens = _tokens(size, 16)
    kinds = (np.arange(16) >= 8) & (tokens > 0)
    return {
        "token_ids": tokens,
        "padding_mask": (tokens > 0).astype("int32"),
        "segment_ids": kinds.astype("int32"),
    }


class SentencePairs(keras.utils.PyDataset):
    """Batches of sentence pairs, each with three input arrays."""

    def __init__(self, size, batch_size):
        super().__init__()
        self.arrays = [*_bert_inputs(size).values(), _one_hot(size, 3)]
        self.size, self.batch_size = size, batch_size

    def __len__(self):
        return self.size // self.batch_size

    def __getitem__(self, index):
        start = index * self.batch_size
        *x, y = (array[start : start + self.batch_size] for array in self.arrays)
        return tuple(x), y


@place
def semantic_similarity_with_bert():
    names = ("token_ids", "padding_mask", "segment_ids")
    inputs = [keras.Input((16,), dtype="int32", name=name) for name in names]
    bert = _bert()
    bert.trainable = False
    x = bert(dict(zip(names, inputs)))["sequence_output"]
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    pooled = [layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)]
    x = layers.Dropout(0.3)(layers.concatenate(pooled))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return Place(model, SentencePairs(16, 8))


@place
def semantic_similarity_with_keras_hub():
    import keras_hub

    model = keras_hub.models.BertTextClassifier(_bert(), 3, preprocessor=None)
    model.compile(
        keras.optimizers.Adam(5e-5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return Place(model, _stream(_bert_inputs(16), _classes(16, 3)))


@place
def image_classifier_of_keras_hub():
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    model = keras_hub.models.ImageClassifier(backbone, 3, preprocessor=None)
    model.compile(
        keras.optimizers.Adam(5e-5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return Place(model, _stream(_images(16, 16, 16, 3), _classes(16, 3)))


class Router(layers.Layer):
    """Returns the probabilities of experts for each token, and adds a loss for uneven
    use of experts."""

    def __init__(self, num_experts):
        super().__init__()
        self.num_experts = num_experts
        self.route = layers.Dense(num_experts)

    def call(self, x):
        chances = ops.softmax(self.route(x))
        chosen = ops.one_hot(ops.argmax(chances, axis=-1), self.num_experts)
        shares = ops.mean(chosen, axis=0) * ops.mean(chances, axis=0)
        self.add_loss(0.01 * self.num_experts * ops.sum(shares))
        return chances * chosen


class Switch(layers.Layer):
    def __init__(self, num_experts, width):
        super().__init__()
        self.width = width
        self.router = Router(num_experts)
        self.experts = [layers.Dense(width, "relu") for _ in range(num_experts)]

    def call(self, x):
        tokens = ops.reshape(x, (-1, self.width))
        gates = ops.expand_dims(self.router(tokens), 1)
        answers = ops.stack([expert(tokens) for expert in self.experts], axis=-1)
        return ops.reshape(ops.sum(answers * gates, axis=-1), ops.shape(x))


class SwitchBlock(TransformerBlock):
    def make_feed_forward(self, width):
        return Switch(3, width)


@place
def text_classification_with_switch_transformer():
    inputs = keras.Input((20,))
    x = TokenAndPositionEmbedding(20, 50, 16)(inputs)
    x = SwitchBlock(16, 2)(x)
    x = layers.Dropout(0.25)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.25)(layers.Dense(12, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return Place(model, _tokens(16, 20), _classes(16))


# Tables ----------------------------------------------------------------------


class Classifier(layers.Layer):
    """Encoder and head in one layer, which takes all columns of a table."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense_1 = layers.Dense(12, activation="relu")
        self.dropout = layers.Dropout(0.5)
        self.dense_2 = layers.Dense(1, activation="sigmoid")

    def build(self, shapes):
        self.built = True

    def call(self, columns):
        x = layers.concatenate(list(columns.values()))
        return self.dense_2(self.dropout(self.dense_1(x)))


@place
def structured_data_from_scratch():
    columns = {f"column_{index}": _numbers(24, 1) for index in range(6)}
    inputs = {name: keras.Input((1,), name=name) for name in columns}
    model = keras.Model(inputs, Classifier(name="classifier")(inputs))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return Place(model, _stream(columns, _classes(24)))


def _patients():
    rng = _rng()
    return {
        "age": rng.normal(50, 9, (24, 1)).astype("float32"),
        "chol": rng.normal(250, 40, (24, 1)).astype("float32"),
        "sex": rng.integers(0, 2, (24, 1)),
        "thal": rng.choice(["fixed", "normal", "reversible"], (24, 1)),
    }


@place
def structured_data_lookups_inside():
    columns = _patients()
    encoders = {
        "age": layers.Normalization(),
        "chol": layers.Normalization(),
        "sex": layers.IntegerLookup(output_mode="one_hot"),
        "thal": layers.StringLookup(output_mode="one_hot"),
    }
    types = {"sex": "int64", "thal": "string"}
    inputs, encoded = {}, []
    for name, encoder in encoders.items():
        encoder.adapt(columns[name])
        inputs[name] = keras.Input((1,), name=name, dtype=types.get(name))
        encoded.append(encoder(inputs[name]))
    x = layers.Dense(12, activation="relu")(layers.concatenate(encoded))
    x = layers.Dropout(0.5)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return Place(model, _stream(columns, _classes(24)))


def _feature_space():
    """Returns a model of encoded rows, a model of raw rows, and a stream for each."""
    feature = keras.utils.FeatureSpace
    columns = {name: column[:, 0] for name, column in _patients().items()}
    columns["oldpeak"] = _rng().uniform(0, 4, 24).astype("float32")
    space = feature(
        {
            "sex": feature.integer_categorical(num_oov_indices=0),
            "thal": feature.string_categorical(num_oov_indices=0),
            "age": feature.float_discretized(num_bins=6),
            "chol": feature.float_normalized(),
            "oldpeak": feature.float_normalized(),
        },
        crosses=[feature.cross(("sex", "age"), crossing_dim=8)],
        output_mode="concat",
    )
    # Sort columns into the order of the inputs.
    rows = _stream(dict(sorted(columns.items())), _classes(24))
    space.adapt(rows.map(lambda x, y: x))
    encoded = space.get_encoded_features()
    x = layers.Dropout(0.5)(layers.Dense(12, activation="relu")(encoded))
    outputs = layers.Dense(1, activation="sigmoid")(x)
    models = keras.Model(encoded, outputs), keras.Model({**space.get_inputs()}, outputs)
    for model in models:
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return models, (rows.map(lambda x, y: (space(x), y)), rows)


@place
def structured_data_feature_space():
    (model, _), (data, _) = _feature_space()
    return Place(model, data)


@place
def structured_data_feature_space_end_to_end():
    (_, model), (_, data) = _feature_space()
    return Place(model, data)


def _census():
    """Returns inputs for three numbers and three categories, and a stream of weighted
    rows."""
    rng = _rng()
    columns = {f"number_{index}": _numbers(24, 1) for index in range(3)}
    for index, size in enumerate((4, 6, 5)):
        # Category ids as floats.
        ids = rng.integers(0, size, (24, 1)).astype("float32")
        columns[f"category_{index}"] = ids
    inputs = {name: keras.Input((1,), name=name) for name in columns}
    weights = rng.uniform(0.5, 1.5, 24).astype("float32")
    return inputs, _stream(columns, _classes(24)[:, None], weights)


def _by_kind(inputs):
    values = list(inputs.values())
    return values[:3], values[3:]


def _census_model(inputs, outputs, data):
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
    )
    return Place(model, data)


def _feed_forward(widths, normalization, name=None):
    blocks = [
        [
            normalization(),
            layers.Dense(width, activation=keras.activations.gelu),
            layers.Dropout(0.2),
        ]
        for width in widths
    ]
    return keras.Sequential([*itertools.chain(*blocks)], name=name)


@place
def tabtransformer():
    inputs, data = _census()
    numbers, categories = _by_kind(inputs)
    x = [layers.Embedding(6, 8)(category) for category in categories]
    x = ops.concatenate(x, axis=1)
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 8, dropout=0.2)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([y, x]))
        y = _feed_forward([8], lambda: layers.LayerNormalization(epsilon=1e-6))(x)
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([y, x]))
    numbers = layers.LayerNormalization(epsilon=1e-6)(layers.concatenate(numbers))
    x = layers.concatenate([layers.Flatten()(x), numbers])
    x = _feed_forward([27, 27], layers.BatchNormalization, "MLP")(x)
    outputs = layers.Dense(1, activation="sigmoid", name="sigmoid")(x)
    return _census_model(inputs, outputs, data)


@place
def tabtransformer_baseline():
    inputs, data = _census()
    numbers, categories = _by_kind(inputs)
    x = [layers.Flatten()(layers.Embedding(6, 8)(category)) for category in categories]
    x = layers.concatenate([*x, *numbers])
    for index in range(2):
        name = f"feedforward_{index}"
        x = _feed_forward([27], layers.LayerNormalization, name)(x)
    x = _feed_forward([27, 27], layers.BatchNormalization, "MLP")(x)
    outputs = layers.Dense(1, activation="sigmoid", name="sigmoid")(x)
    return _census_model(inputs, outputs, data)


#: Number of values of each of the two categories of a forest.
_KINDS = {"area": 4, "soil": 10}


def _woods():
    columns = {f"number_{index}": _numbers(24) for index in range(3)}
    columns |= {
        name: _rng().integers(0, size, 24).astype("int32")
        for name, size in _KINDS.items()
    }
    inputs = {
        name: keras.Input((), name=name, dtype=str(column.dtype))
        for name, column in columns.items()
    }
    return inputs, _stream(columns, _classes(24, 7))


def _encode(inputs, embeds):
    """Encodes categories as one-hot vectors or embeddings, and keeps numbers."""
    encoded = []
    for name, column in inputs.items():
        if name not in _KINDS:
            encoded.append(ops.expand_dims(column, -1))
        elif embeds:
            ids = ops.cast(column, "int32")
            width = int(_KINDS[name] ** 0.5)
            encoded.append(layers.Embedding(_KINDS[name], width)(ids))
        else:
            ids = ops.expand_dims(column, -1)
            encoded.append(layers.CategoryEncoding(_KINDS[name], "one_hot")(ids))
    return layers.concatenate(encoded)


def _deep(x):
    for _ in range(2):
        x = layers.BatchNormalization()(layers.Dense(12)(x))
        x = layers.Dropout(0.1)(layers.ReLU()(x))
    return x


def _wood_model(inputs, x, data):
    model = keras.Model(inputs, layers.Dense(7, activation="softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return Place(model, data)


@place
def wide_and_deep():
    inputs, data = _woods()
    wide = layers.BatchNormalization()(_encode(inputs, embeds=False))
    deep = _deep(_encode(inputs, embeds=True))
    return _wood_model(inputs, layers.concatenate([wide, deep]), data)


@place
def deep_and_cross():
    inputs, data = _woods()
    x = cross = _encode(inputs, embeds=True)
    for _ in range(2):
        cross = x * layers.Dense(8)(cross) + cross
    cross = layers.BatchNormalization()(cross)
    return _wood_model(inputs, layers.concatenate([cross, _deep(x)]), data)


@place
def wide_deep_cross_baseline():
    inputs, data = _woods()
    return _wood_model(inputs, _deep(_encode(inputs, embeds=False)), data)


@place
def imbalanced_classification():
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        "binary_crossentropy",
        metrics=[
            keras.metrics.FalseNegatives(name="fn"),
            keras.metrics.TruePositives(name="tp"),
            keras.metrics.Precision(name="precision"),
        ],
    )
    y = (np.arange(32) % 8 == 0).astype("uint8")[:, None]
    return Place(model, _numbers(32, 30), y, {"class_weight": {0: 1 / 28, 1: 1 / 4}})


class GatedLinearUnit(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.linear = layers.Dense(width)
        self.gate = layers.Dense(width, activation="sigmoid")

    def call(self, x):
        return self.linear(x) * self.gate(x)


class GatedResidualNetwork(layers.Layer):
    def __init__(self, width, rate):
        super().__init__()
        self.width = width
        self.elu = layers.Dense(width, activation="elu")
        self.linear = layers.Dense(width)
        self.dropout = layers.Dropout(rate)
        self.gate = GatedLinearUnit(width)
        self.normalize = layers.LayerNormalization()
        self.project = layers.Dense(width)

    def call(self, inputs):
        x = self.gate(self.dropout(self.linear(self.elu(inputs))))
        if inputs.shape[-1] != self.width:
            inputs = self.project(inputs)
        return self.normalize(inputs + x)


class VariableSelection(layers.Layer):
    def __init__(self, num_features, width, rate):
        super().__init__()
        self.networks = [GatedResidualNetwork(width, rate) for _ in range(num_features)]
        self.choose = GatedResidualNetwork(width, rate)
        self.shares = layers.Dense(num_features, activation="softmax")

    def call(self, features):
        shares = self.shares(self.choose(ops.concatenate(features, axis=-1)))
        values = [network(x) for network, x in zip(self.networks, features)]
        return ops.sum(ops.stack(values, axis=1) * shares[..., None], axis=1)


@place
def classification_with_grn_and_vsn():
    inputs, data = _census()
    x = VariableSelection(6, 8, 0.15)(list(inputs.values()))
    outputs = layers.Dense(1, activation="sigmoid")(x)
    return _census_model(inputs, outputs, data)


# Series and sound --------------------------------------------------------------


@place
def timeseries_classification_from_scratch():
    inputs = keras.Input((24, 1))
    x = inputs
    for _ in range(3):
        x = layers.Conv1D(12, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )
    return Place(model, _numbers(16, 24, 1), _classes(16))


@place
def timeseries_classification_transformer():
    inputs = keras.Input((16, 1))
    x = inputs
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 8, dropout=0.25)(x, x)
        y = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(0.25)(y))
        # Operations, not layers.
        skip = x + y
        y = layers.Conv1D(4, 1, activation="relu")(skip)
        y = layers.Conv1D(1, 1)(layers.Dropout(0.25)(y))
        x = layers.LayerNormalization(epsilon=1e-6)(y) + skip
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    x = layers.Dropout(0.4)(layers.Dense(12, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-4),
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )
    return Place(model, _numbers(16, 16, 1), _classes(16))


@place
def eeg_signal_classification():
    inputs = keras.Input((64, 1))
    x = inputs
    for width in (4, 4, 8, 8, 8, 8):
        x = layers.Conv1D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.Dropout(0.2)(x))
    for width in (16, 16, 12):
        x = layers.Dense(
            width, activation="relu", kernel_regularizer=keras.regularizers.L2()
        )(x)
        x = layers.Dropout(0.2)(x)
    x = layers.Dense(8, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-3, amsgrad=True),
        keras.losses.CategoricalCrossentropy(),
        metrics=[
            keras.metrics.TopKCategoricalAccuracy(3),
            keras.metrics.AUC(),
            keras.metrics.Recall(),
        ],
    )
    data = _stream(_numbers(16, 64, 1), _one_hot(16, 5))
    weights = {index: 1 + index / 5 for index in range(5)}
    return Place(model, data, fit={"class_weight": weights})


@place
def speaker_recognition_using_cnn():
    inputs = keras.Input((96, 1), name="input")
    x = inputs
    for width, depth in ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)):
        skip = layers.Conv1D(width, 1, padding="same")(x)
        for _ in range(depth - 1):
            x = layers.Conv1D(width, 3, padding="same")(x)
            x = layers.Activation("relu")(x)
        x = layers.Conv1D(width, 3, padding="same")(x)
        x = layers.Activation("relu")(layers.Add()([x, skip]))
        x = layers.MaxPool1D(2, 2)(x)
    x = layers.Flatten()(layers.AveragePooling1D(3, 3)(x))
    x = layers.Dense(16, activation="relu")(x)
    x = layers.Dense(12, activation="relu")(x)
    outputs = layers.Dense(5, activation="softmax", name="output")(x)
    model = keras.Model(inputs, outputs)
    model.compile("Adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Place(model, _stream(_numbers(16, 96, 1), _classes(16, 5)))


def _ctc_loss(y_true, y_pred):
    ones = ops.ones(ops.shape(y_pred)[:1], "int32")
    return ops.ctc_loss(
        ops.cast(y_true, "int32"),
        ops.log(y_pred + 1e-7),
        ones * y_true.shape[1],
        ones * y_pred.shape[1],
    )


@place
def ctc_asr():
    inputs = keras.Input((20, 9), name="spectrogram")
    x = inputs
    for index in (1, 2):
        x = layers.Conv1D(8, 3, padding="same", activation="relu", name=f"Conv{index}")(
            x
        )
        x = layers.BatchNormalization()(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.Permute((2, 1))(layers.BatchNormalization()(x))
    x = layers.Dropout(0.2)(layers.Dense(12, activation="relu")(x))
    x = layers.Permute((2, 1))(layers.BatchNormalization()(x))
    outputs = layers.Dense(22, activation="softmax", name="output_layer")(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", _ctc_loss)
    texts = _rng().integers(1, 22, (16, 4)).astype("int32")
    return Place(model, _stream(_numbers(16, 20, 9), texts))


# Several samples in one, graphs ------------------------------------------------


class MILAttentionLayer(layers.Layer):
    def __init__(self, width, kernel_regularizer=None, use_gated=False, name=None):
        super().__init__(name=name)
        self.width, self.use_gated = width, use_gated
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, shapes):
        features = shapes[0][1]

        def add(*shape):
            return self.add_weight(shape=shape, regularizer=self.kernel_regularizer)

        self.v, self.w = add(features, self.width), add(self.width, 1)
        self.u = add(features, self.width) if self.use_gated else None

    def call(self, instances):
        scores = ops.stack([self.score(instance) for instance in instances])
        shares = ops.softmax(scores, axis=0)
        return [shares[index] for index in range(len(instances))]

    def score(self, instance):
        x = ops.tanh(instance @ self.v)
        if self.use_gated:
            x = x * ops.sigmoid(instance @ self.u)
        return x @ self.w


@place
def attention_mil_classification():
    inputs = [keras.Input((8, 8)) for _ in range(3)]
    dense = [layers.Dense(width, activation="relu") for width in (16, 8)]
    instances = [dense[1](dense[0](layers.Flatten()(image))) for image in inputs]
    shares = MILAttentionLayer(
        8, keras.regularizers.L2(0.01), use_gated=True, name="alpha"
    )(instances)
    weighted = [layers.multiply(pair) for pair in zip(shares, instances)]
    outputs = layers.Dense(2, activation="softmax")(layers.concatenate(weighted))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    bags = [*_numbers(3, 8, 8, 8)]
    return Place(model, bags, _classes(8), {"batch_size": 1})


def _euclidean_distance(pair):
    squares = ops.sum(ops.square(pair[0] - pair[1]), axis=1, keepdims=True)
    return ops.sqrt(ops.maximum(squares, 1e-7))


def _contrastive(margin):
    def contrastive_loss(y_true, y_pred):
        square = ops.square(y_pred)
        margin_square = ops.square(ops.maximum(margin - y_pred, 0))
        return ops.mean((1 - y_true) * square + y_true * margin_square)

    return contrastive_loss


@place
def siamese_contrastive():
    image = keras.Input((16, 16, 1))
    x = layers.BatchNormalization()(image)
    for width in (4, 8):
        x = layers.Conv2D(width, 5, activation="tanh", padding="same")(x)
        x = layers.AveragePooling2D(2)(x)
    x = layers.BatchNormalization()(layers.Flatten()(x))
    embedding = keras.Model(image, layers.Dense(6, activation="tanh")(x))
    inputs = [keras.Input((16, 16, 1)) for _ in range(2)]
    towers = [embedding(side) for side in inputs]
    x = layers.Lambda(_euclidean_distance, output_shape=(1,))(towers)
    x = layers.BatchNormalization()(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile("RMSprop", _contrastive(margin=1), metrics=["accuracy"])
    pairs = [*_numbers(2, 16, 16, 16, 1)]
    return Place(model, pairs, _classes(16).astype("float32"), {"batch_size": 8})


@place
def supervised_contrastive_baseline():
    x = _images(20, 16, 16, 3)
    augmentation = keras.Sequential(
        [layers.Normalization(), layers.RandomFlip("horizontal")]
    )
    augmentation.layers[0].adapt(x)
    image = keras.Input((16, 16, 3))
    z = layers.Conv2D(8, 3, strides=2, activation="relu")(augmentation(image))
    z = layers.Conv2D(12, 3, strides=2, activation="relu")(z)
    z = layers.GlobalAveragePooling2D()(z)
    encoder = keras.Model(image, z, name="cifar10-encoder")
    inputs = keras.Input((16, 16, 3))
    z = layers.Dropout(0.5)(encoder(inputs))
    z = layers.Dropout(0.5)(layers.Dense(16, activation="relu")(z))
    outputs = layers.Dense(10, activation="softmax")(z)
    model = keras.Model(inputs, outputs, name="cifar10-classifier")
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return Place(model, x, _classes(20, 10)[:, None])


@place
def gnn_citations_baseline():
    import pandas as pd

    def block(name):
        parts = [
            [
                layers.BatchNormalization(),
                layers.Dropout(0.5),
                layers.Dense(12, activation="gelu"),
            ]
            for _ in range(2)
        ]
        return keras.Sequential([*itertools.chain(*parts)], name=name)

    inputs = keras.Input((20,), name="input_features")
    x = block("ffn_block1")(inputs)
    for index in range(2, 6):
        skip = block(f"ffn_block{index}")(x)
        x = layers.Add(name=f"skip_connection{index}")([x, skip])
    model = keras.Model(inputs, layers.Dense(7, name="logits")(x), name="baseline")
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    words = (_numbers(28, 20) > 1).astype("float32")
    return Place(model, words, pd.Series(_classes(28, 7), name="subject"))


class MessagePassing(layers.Layer):
    """Passes messages to atoms from those that they are bound to."""

    def __init__(self, width, steps=2):
        super().__init__()
        self.width, self.steps = width, steps
        self.lift = layers.Dense(width)
        self.edge = layers.Dense(width * width)
        self.update = layers.GRUCell(width)

    def call(self, inputs):
        atoms, bonds, pairs = inputs
        states = self.lift(atoms)
        matrices = ops.reshape(self.edge(bonds), (-1, self.width, self.width))
        for _ in range(self.steps):
            others = ops.take(states, pairs[:, 1], axis=0)
            messages = ops.squeeze(ops.matmul(matrices, others[..., None]), -1)
            heard = ops.segment_sum(messages, pairs[:, 0], ops.shape(states)[0])
            states, _ = self.update(heard, [states])
        return states


class GatedReadout(layers.Layer):
    """Reduces rows of atoms to one row per molecule."""

    def __init__(self, width):
        super().__init__()
        self.gate = layers.Dense(width, activation="sigmoid")
        self.value = layers.Dense(width)

    def call(self, inputs):
        states, molecules, sizes = inputs
        values = self.gate(states) * self.value(states)
        num_molecules = ops.shape(sizes)[0]
        return ops.segment_sum(values, molecules, num_molecules) / sizes


@place
def mpnn_molecular_graphs():
    """In four of five inputs, the first axis is atoms or bonds, not samples."""
    import tensorflow as tf

    molecules, atoms = 8, 5
    inputs = [
        keras.Input((6,), name="atom_features"),
        keras.Input((3,), name="bond_features"),
        keras.Input((2,), dtype="int32", name="pair_indices"),
        keras.Input((), dtype="int32", name="molecule_indicator"),
        keras.Input((1,), name="molecule_size"),
    ]
    x = MessagePassing(8)(inputs[:3])
    x = GatedReadout(12)([x, *inputs[3:]])
    x = layers.Dropout(0.2)(layers.Dense(12, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        keras.optimizers.Adam(5e-4),
        keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(name="AUC")],
    )
    # In each molecule, atoms form a ring.
    atom = np.arange(molecules * atoms, dtype="int32")
    nearest = atom // atoms * atoms + (atom + 1) % atoms
    batches = 2
    x = (
        _numbers(batches, len(atom), 6),
        _numbers(batches, len(atom), 3),
        np.stack([np.stack([atom, nearest], axis=1)] * batches),
        np.stack([atom // atoms] * batches),
        np.full((batches, molecules, 1), atoms, "float32"),
    )
    y = _classes(batches * molecules).reshape(batches, molecules)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return Place(model, data, fit={"class_weight": {0: 2.0, 1: 0.5}})


# Targets other than one class ----------------------------------------------------


@place
def timeseries_weather_forecasting():
    inputs = keras.Input((12, 7))
    x = layers.LSTM(8)(inputs)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return Place(model, _stream(_numbers(16, 12, 7), _numbers(16, 1)))


@place
def multi_label_classification():
    model = keras.Sequential(
        [
            keras.Input((40,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(12, activation="relu"),
            layers.Dense(12, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["binary_accuracy"])
    y = (_rng().random((16, 12)) < 0.2).astype("float32")
    return Place(model, _stream(_numbers(16, 40), y))


@place
def actor_critic_cartpole():
    """Trained in a custom loop: not compiled, without labels."""
    inputs = keras.Input((4,))
    common = layers.Dense(16, activation="relu")(inputs)
    action = layers.Dense(2, activation="softmax")(common)
    critic = layers.Dense(1)(common)
    return Place(keras.Model(inputs, [action, critic]), _numbers(16, 4))


# One more, of the same kinds -----------------------------------------------------


class OrthogonalRegularizer(keras.regularizers.Regularizer):
    def __init__(self, size, strength=0.001):
        self.size, self.strength = size, strength

    def __call__(self, x):
        x = ops.reshape(x, (-1, self.size, self.size))
        product = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return self.strength * ops.sum(ops.square(product - ops.eye(self.size)))


def _soft_relu(x):
    return x * ops.sigmoid(2 * x)


@place
def pointnet():
    """Has a regularizer and an activation that cannot be saved by name. Not in the
    list."""
    inputs = keras.Input((16, 3))
    x = layers.Conv1D(8, 1, activation=_soft_relu)(inputs)
    x = layers.Dense(8, activation=_soft_relu)(layers.GlobalMaxPooling1D()(x))
    transform = layers.Dense(
        9,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(np.eye(3).flatten()),
        activity_regularizer=OrthogonalRegularizer(3),
    )(x)
    x = layers.Dot(axes=(2, 1))([inputs, layers.Reshape((3, 3))(transform)])
    x = layers.BatchNormalization()(layers.Conv1D(12, 1, activation=_soft_relu)(x))
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.3)(layers.Dense(12, activation=_soft_relu)(x))
    outputs = layers.Dense(10, activation="softmax")(x)
    model = keras.Model(inputs, outputs, name="pointnet")
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )
    return Place(model, _stream(_numbers(20, 16, 3), _classes(20, 10)))


# Outcomes ------------------------------------------------------------------------


def compile_as(augmented, model):
    """Compiles an augmented model whose settings could not be copied."""
    if model.compiled and not augmented.compiled:
        optimizer = keras.optimizers.serialize(model.optimizer)
        augmented.compile(keras.optimizers.deserialize(optimizer), model.loss)


def inserted_after(augmented):
    """Returns the name of the layer or operation whose output the model augments."""
    latents = augmented.latent_augmentation.input
    for operation in augmented.operations:
        try:
            outputs = keras.tree.flatten(operation.output)
        except (AttributeError, ValueError):  # Called several times, or not here.
            continue
        if any(output is latents for output in outputs):
            return operation.name
    return "a layer of a nested model"


def _last_cause(error):
    """Returns the message in one line, without what Keras adds around it."""
    return " ".join(str(error).split("Exception encountered:")[-1].split())


def outcome(name):
    """Returns a sentence on the outcome of `augment` and one epoch of `fit`."""
    import keras_modals

    place = PLACES[name]()
    try:
        augmented = keras_modals.augment(place.model, seed=0, warmup_steps=0)
        compile_as(augmented, place.model)
        loss = place.train(augmented)
    except ValueError as error:
        return f"refused: {_last_cause(error)}"
    except Exception as error:
        return f"fails: {type(error).__name__}: {_last_cause(error)}"
    if not np.isfinite(loss):
        return f"trains to a loss of {loss}"
    return f"trains, layer inserted at `{inserted_after(augmented)}`"


def main(names):
    print("| model | outcome |\n|---|---|")
    for name in names or PLACES:
        if name in TENSORFLOW_ONLY and keras.backend.backend() != "tensorflow":
            text = "not run: needs TensorFlow"
        else:
            keras.utils.clear_session()
            keras.utils.set_random_seed(0)
            text = outcome(name)
        if len(text) > 300:
            text = f"{text[:300]} ..."
        print(f"| {name} | {text.replace('|', chr(92) + '|')} |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
