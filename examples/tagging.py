"""Tagging: the part of speech of each word in Turkish sentences.

    python examples/tagging.py

Uses 300 training sentences from the Turkish Web Treebank. Trains a bidirectional LSTM
without and with one more line of code, prints a table, and plots the recall for each
part of speech to `tagging.png`.
"""

import importlib.metadata
from collections import Counter

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers
from sklearn.metrics import accuracy_score, f1_score, recall_score

import keras_modals

LENGTH, WORDS = 24, 1500
TAGS = ["NOUN", "VERB", "PUNCT", "ADJ", "ADV", "CONJ", "ADP", "DET", "PRON", "PRT"]


def read():
    """Returns sentences of words and parts of speech.

    Only the last three letters of a word are used: in Turkish, endings carry most of
    the information.
    """
    package = importlib.metadata.distribution("turkish-treebanks")
    with open(package.locate_file("data/web.conllu"), encoding="utf-8") as file:
        text = file.read()
    for sentence in text.strip().split("\n\n"):
        lines = [line.split("\t") for line in sentence.split("\n") if line[0] != "#"]
        yield [line[1].lower()[-3:] for line in lines], [line[3] for line in lines]


def load(seed):
    sentences, tags = zip(*read(), strict=True)
    order = np.random.default_rng(seed).permutation(len(sentences))
    train, test = order[:300], order[300:1300]
    counts = Counter(word for i in train for word in sentences[i])
    # 0 is padding, 1 an unknown word.
    known = {word: 2 + i for i, (word, _) in enumerate(counts.most_common(WORDS - 2))}
    parts = []
    for part in (train, test):
        x = np.zeros((len(part), LENGTH), "int32")
        # Padding and rare parts of speech have no label.
        y = np.full((len(part), LENGTH), -1)
        for row, labels, i in zip(x, y, part, strict=True):
            words = sentences[i][:LENGTH]
            row[: len(words)] = [known.get(word, 1) for word in words]
            found = [TAGS.index(tag) if tag in TAGS else -1 for tag in tags[i]]
            labels[: len(words)] = found[:LENGTH]
        parts.append((x, y))
    return parts


def build():
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 64, mask_zero=True),
            layers.Bidirectional(layers.LSTM(32, return_sequences=True)),
            layers.Dense(len(TAGS), "softmax"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model


def predict(augments, seed, epochs):
    (x, y), (x_test, y_test) = load(seed)
    keras.utils.set_random_seed(seed)
    model = build()
    if augments:
        model = keras_modals.augment(model)
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    found = model.predict(x_test, verbose=0).argmax(-1)
    return y_test[y_test >= 0], found[y_test >= 0]


def main(seeds=3, epochs=10):
    rows, recalls = [], {}
    for method in ("plain", "augmented"):
        for seed in range(seeds):
            truth, found = predict(method == "augmented", seed, epochs)
            f1 = f1_score(truth, found, average="macro")
            rows.append((method, accuracy_score(truth, found), f1))
            recall = recall_score(truth, found, average=None, zero_division=0)
            recalls.setdefault(method, []).append(recall)
    table = pd.DataFrame(rows, columns=["method", "accuracy", "macro F1"])
    print(table.groupby("method", sort=False).mean().mul(100).round(1))
    means = {name: np.mean(each, 0) for name, each in recalls.items()}
    means = pd.DataFrame(means, index=TAGS)
    axis = means.plot.barh(xlabel="share found", figsize=(6, 6))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.savefig("tagging.png", bbox_inches="tight")


if __name__ == "__main__":
    main()
