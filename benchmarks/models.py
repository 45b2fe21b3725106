"""Small classifiers with an encoder for each kind of data, used by the benchmarks."""

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


def bilstm(input_shape, num_classes, vocabulary=2000, units=64):
    """An embedding and a bidirectional LSTM, for texts as token numbers."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(units))(hidden)
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
