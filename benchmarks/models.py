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
    inputs = keras.Input(input_shape)
    hidden = inputs
    for filters in (32, 64, 64):
        hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    hidden = layers.GlobalAveragePooling2D()(hidden)
    return _classifier(inputs, hidden, num_classes)


def cnn_1d(input_shape, num_classes):
    """Three convolutions along time, for audio and other series."""
    inputs = keras.Input(input_shape)
    hidden = inputs
    for filters in (32, 64, 64):
        hidden = layers.Conv1D(filters, 5, padding="same", activation="relu")(hidden)
        hidden = layers.MaxPooling1D()(hidden)
    hidden = layers.GlobalAveragePooling1D()(hidden)
    return _classifier(inputs, hidden, num_classes)


def bilstm(input_shape, num_classes, vocabulary=2000, units=64):
    """An embedding and a bidirectional LSTM, for texts as token numbers."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = layers.Embedding(vocabulary, units)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(units))(hidden)
    return _classifier(inputs, hidden, num_classes)


def _classifier(inputs, hidden, num_classes):
    latents = layers.Dense(LATENTS, name="latents")(hidden)
    outputs = layers.Dense(num_classes, activation="softmax", name="head")(latents)
    return keras.Model(inputs, outputs)
