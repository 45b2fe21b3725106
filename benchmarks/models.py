"""Small models with an encoder for each kind of data, used by the benchmarks.

All take the shape of an input and arguments of the head: the number of outputs, and
their activation if it is not `softmax`.
"""

import functools

import keras
from keras import layers

LATENTS = 64


def linear(input_shape, outputs, activation="softmax"):
    """No hidden layer, for frozen features."""
    inputs = keras.Input(input_shape)
    outputs = layers.Dense(outputs, activation=activation, name="head")(inputs)
    return keras.Model(inputs, outputs)


def mlp(input_shape, *head, units=128):
    """Two hidden layers, for tabular data."""
    inputs = keras.Input(input_shape)
    hidden = layers.Dense(units, "relu")(inputs)
    hidden = layers.Dense(units, "relu")(hidden)
    return _model(inputs, hidden, *head)


def cnn_2d(input_shape, *head):
    """Three convolutions, for images."""
    stages = layers.Conv2D, layers.MaxPooling2D, layers.GlobalAveragePooling2D
    return _cnn(input_shape, 3, stages, *head)


def cnn_2d_max(input_shape, *head):
    """Three convolutions and max pooling, for objects anywhere in an image."""
    stages = layers.Conv2D, layers.MaxPooling2D, layers.GlobalMaxPooling2D
    return _cnn(input_shape, 3, stages, *head)


def cnn_1d(input_shape, *head):
    """Three convolutions along time, for audio and other series."""
    stages = layers.Conv1D, layers.MaxPooling1D, layers.GlobalAveragePooling1D
    return _cnn(input_shape, 5, stages, *head)


def _cnn(input_shape, kernel_size, stages, *head):
    convolution, pooling, global_pooling = stages
    inputs = keras.Input(input_shape)
    hidden = inputs
    for filters in (32, 64, 64):
        hidden = convolution(filters, kernel_size, padding="same", activation="relu")(
            hidden
        )
        hidden = pooling()(hidden)
    return _model(inputs, global_pooling()(hidden), *head)


def residual_1d(input_shape, *head):
    """Three residual blocks with batch normalization, for series."""
    stages = layers.Conv1D, layers.MaxPooling1D, layers.GlobalAveragePooling1D
    return _residual(input_shape, 5, (64, 64, 64), stages, *head)


def residual_2d(input_shape, *head):
    """Three residual blocks with batch normalization, for images."""
    stages = layers.Conv2D, layers.MaxPooling2D, layers.GlobalAveragePooling2D
    return _residual(input_shape, 3, (32, 32, 64), stages, *head, momentum=0.9)


def _residual(input_shape, kernel_size, filters, stages, *head, momentum=0.99):
    convolution, pooling, global_pooling = stages
    inputs = keras.Input(input_shape)
    hidden = convolution(filters[0], kernel_size, padding="same")(inputs)
    for width in filters:
        start = hidden
        if start.shape[-1] != width:
            start = convolution(width, 1)(start)
        for activation in ("relu", None):
            hidden = convolution(width, kernel_size, padding="same", use_bias=False)(
                hidden
            )
            hidden = layers.BatchNormalization(momentum=momentum)(hidden)
            hidden = layers.Activation(activation)(hidden)
        hidden = layers.ReLU()(layers.Add()([hidden, start]))
        hidden = pooling()(hidden)
    return _model(inputs, global_pooling()(hidden), *head)


def bilstm(input_shape, *head, vocabulary=2000, units=64, mask_zero=False):
    """An embedding and a bidirectional LSTM, for texts as token ids."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units, mask_zero=mask_zero)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(units))(hidden)
    return _model(inputs, hidden, *head)


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


def transformer(input_shape, *head, vocabulary=2000, units=64, blocks=2, pools=True):
    """A small pre-norm transformer, for texts."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units, mask_zero=True)(inputs)
    hidden = _blocks(Positions()(hidden), units, blocks)
    if pools:
        hidden = layers.GlobalAveragePooling1D()(hidden)
    return _model(inputs, hidden, *head)


def vision_transformer(input_shape, *head, units=64, blocks=3, patch=4):
    """A small vision transformer, for images."""
    inputs = keras.Input(input_shape)
    hidden = layers.Conv2D(units, patch, patch)(inputs)
    hidden = layers.Reshape((-1, units))(hidden)
    hidden = _blocks(Positions()(hidden), units, blocks)
    return _model(inputs, layers.GlobalAveragePooling1D()(hidden), *head)


def _blocks(hidden, units, blocks):
    """Pre-norm transformer blocks."""
    for _ in range(blocks):
        start = layers.LayerNormalization()(hidden)
        start = layers.MultiHeadAttention(4, units // 4)(start, start)
        hidden = layers.Add()([hidden, start])
        start = layers.LayerNormalization()(hidden)
        start = layers.Dense(2 * units, "gelu")(start)
        hidden = layers.Add()([hidden, layers.Dense(units)(start)])
    return layers.LayerNormalization()(hidden)


def resnet18(input_shape, num_classes, filters=64):
    """The residual network with 18 layers, for images of 32 by 32 pixels."""
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


transformer_tagger = functools.partial(transformer, pools=False)


def lstm_tagger(input_shape, *head, vocabulary=2000, units=64):
    """A bidirectional LSTM with an output for each word."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units, mask_zero=True)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(units, return_sequences=True))(hidden)
    return _model(inputs, hidden, *head)


def convolutional_tagger(input_shape, *head, filters=64):
    """Dilated convolutions with an output for each time step."""
    inputs = keras.Input(input_shape)
    hidden = layers.Conv1D(filters, 3, padding="same")(inputs)
    for dilation in (1, 2, 4, 8):
        start = layers.ReLU()(hidden)
        start = layers.Conv1D(filters, 3, padding="same", dilation_rate=dilation)(start)
        hidden = layers.Add()([hidden, start])
    return _model(inputs, layers.ReLU()(hidden), *head)


def unet(input_shape, outputs, activation="softmax", filters=(16, 32, 64)):
    """The U-Net, with an output for each pixel."""
    inputs = keras.Input(input_shape)
    hidden, kept = inputs, []
    for width in filters:
        if kept:
            hidden = layers.MaxPooling2D()(hidden)
        hidden = _two_convolutions(hidden, width)
        kept.append(hidden)
    for width, start in zip(filters[-2::-1], kept[-2::-1], strict=True):
        hidden = layers.Conv2DTranspose(width, 2, strides=2)(hidden)
        hidden = layers.Concatenate()([start, hidden])
        hidden = _two_convolutions(hidden, width)
    outputs = layers.Conv2D(outputs, 1, activation=activation, name="head")(hidden)
    return keras.Model(inputs, outputs)


def _two_convolutions(hidden, filters):
    for _ in range(2):
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
    return hidden


def _normalized(convolution, hidden):
    return layers.BatchNormalization()(convolution(hidden))


def _model(inputs, hidden, outputs, activation="softmax"):
    latents = layers.Dense(LATENTS, name="latents")(hidden)
    outputs = layers.Dense(outputs, activation=activation, name="head")(latents)
    return keras.Model(inputs, outputs)
