"""Text: a bidirectional LSTM learns from 240 sentences.

    python examples/text_bilstm.py

The sentences are summaries of SciPy's functions, and the classes are its subpackages.
Trains in several ways with `keras_modals.compare`, prints a table and plots it to
`text_bilstm.png`.
"""

import keras
import scipy_summaries
from keras import layers

import keras_modals
from keras_modals.plots import plot_comparison

METHODS = ("none", "manifold mixup", "latent mixing", "one-run search")
WORDS, LENGTH = 1000, 24


def load(seed):
    parts = scipy_summaries.split(seed)
    # The vocabulary comes from the training texts only.
    tokenize = layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    tokenize.adapt(parts["train"][0])
    return {
        name: (keras.ops.convert_to_numpy(tokenize(texts)), labels)
        for name, (texts, labels) in parts.items()
    }


def build():
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(WORDS, 64, mask_zero=True)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(48))(hidden)
    latents = layers.Dense(48)(hidden)
    outputs = layers.Dense(len(scipy_summaries.TOPICS), "softmax")(latents)
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=15):
    result = keras_modals.compare(
        build, load, methods, seeds, epochs=epochs, dataset="text, BiLSTM"
    )
    print(result)
    plot_comparison(result, "text, BiLSTM").figure.savefig("text_bilstm.png")


if __name__ == "__main__":
    main()
