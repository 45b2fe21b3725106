"""Small classifiers with an encoder for each kind of data, used by the benchmarks."""

import functools

import keras
from keras import layers

LATENTS = 64


def mlp(input_shape, num_classes, units=128):
    """Two hidden layers, for tabular data."""
    inputs = keras.Input(input_shape)
    hidden = layers.Dense(units, "relu")(inputs)
    hidden = layers.Dense(units, "relu")(hidden)
    return _classifier(inputs, hidden, num_classes)


def cnn_2d(input_shape, num_classes):
    """Three convolutions, for images."""
    stages = layers.Conv2D, layers.MaxPooling2D, layers.GlobalAveragePooling2D
    return _cnn(input_shape, num_classes, 3, *stages)


def cnn_1d(input_shape, num_classes):
    """Three convolutions along time, for audio and other series."""
    stages = layers.Conv1D, layers.MaxPooling1D, layers.GlobalAveragePooling1D
    return _cnn(input_shape, num_classes, 5, *stages)


def _cnn(input_shape, num_classes, kernel_size, convolution, pooling, global_pooling):
    inputs = keras.Input(input_shape)
    hidden = inputs
    for filters in (32, 64, 64):
        hidden = convolution(filters, kernel_size, padding="same", activation="relu")(
            hidden
        )
        hidden = pooling()(hidden)
    return _classifier(inputs, global_pooling()(hidden), num_classes)


def residual_1d(input_shape, num_classes, blocks=3, filters=64):
    """Residual blocks with batch normalization, for series."""
    inputs = keras.Input(input_shape)
    hidden = layers.Conv1D(filters, 5, padding="same")(inputs)
    for _ in range(blocks):
        start = hidden
        for activation in ("relu", None):
            hidden = layers.Conv1D(filters, 5, padding="same", use_bias=False)(hidden)
            hidden = layers.BatchNormalization()(hidden)
            hidden = layers.Activation(activation)(hidden)
        hidden = layers.ReLU()(layers.Add()([hidden, start]))
        hidden = layers.MaxPooling1D()(hidden)
    hidden = layers.GlobalAveragePooling1D()(hidden)
    return _classifier(inputs, hidden, num_classes)


def bilstm(input_shape, num_classes, vocabulary=2000, units=64, mask_zero=False):
    """An embedding and a bidirectional LSTM, for texts as token numbers."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units, mask_zero=mask_zero)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(units))(hidden)
    return _classifier(inputs, hidden, num_classes)


masked_bilstm = functools.partial(bilstm, mask_zero=True)


class Positions(layers.Layer):
    """Adds a learned vector for each position."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        self.positions = self.add_weight(
            shape=input_shape[1:], initializer=keras.initializers.RandomNormal(0.02)
        )

    def call(self, inputs):
        return inputs + self.positions


def transformer(input_shape, num_classes, vocabulary=2000, units=64, blocks=2):
    """A small transformer, normalized before each block, for texts."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units, mask_zero=True)(inputs)
    hidden = Positions()(hidden)
    for _ in range(blocks):
        start = layers.LayerNormalization()(hidden)
        start = layers.MultiHeadAttention(4, units // 4)(start, start)
        hidden = layers.Add()([hidden, start])
        start = layers.LayerNormalization()(hidden)
        start = layers.Dense(2 * units, "gelu")(start)
        hidden = layers.Add()([hidden, layers.Dense(units)(start)])
    hidden = layers.LayerNormalization()(hidden)
    hidden = layers.GlobalAveragePooling1D()(hidden)
    return _classifier(inputs, hidden, num_classes)


def resnet18(input_shape, num_classes, filters=64):
    """The residual network of 18 layers for images of 32 by 32."""
    inputs = keras.Input(input_shape)
    shape = {"padding": "same", "use_bias": False}
    hidden = layers.ReLU()(_normalized(layers.Conv2D(filters, 3, **shape), inputs))
    for stage in range(4):
        for block in range(2):
            strides = 2 if stage and not block else 1
            width, start = filters * 2**stage, hidden
            hidden = _normalized(layers.Conv2D(width, 3, strides, **shape), hidden)
            hidden = layers.ReLU()(hidden)
            hidden = _normalized(layers.Conv2D(width, 3, **shape), hidden)
            if start.shape[-1] != width:
                start = _normalized(layers.Conv2D(width, 1, strides, **shape), start)
            hidden = layers.ReLU()(layers.Add()([hidden, start]))
    hidden = layers.GlobalAveragePooling2D()(hidden)
    outputs = layers.Dense(num_classes, activation="softmax", name="head")(hidden)
    return keras.Model(inputs, outputs)


def _normalized(convolution, hidden):
    return layers.BatchNormalization()(convolution(hidden))


def _classifier(inputs, hidden, num_classes):
    latents = layers.Dense(LATENTS, name="latents")(hidden)
    outputs = layers.Dense(num_classes, activation="softmax", name="head")(latents)
    return keras.Model(inputs, outputs)
