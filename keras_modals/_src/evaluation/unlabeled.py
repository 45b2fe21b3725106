"""Ways to train with samples without labels."""

import dataclasses

import keras
import numpy as np

from keras_modals._src.data.sources import concatenated
from keras_modals._src.evaluation.augmented import augmented
from keras_modals._src.evaluation.compiled import recompile
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.terms.consistency import Consistency


def consistent(threshold=None, **arguments):
    """A method that trains `augmented(trial, model, **arguments)` with `Consistency`.

    Args:
        threshold: That of pseudo-labels.
        **arguments: Those of `augment`; settings add to them.
    """

    def train(trial, model, weight=3.0, **setting):
        if threshold is not None and trial.kind.has_numbers:
            raise NotApplicableError("needs classes")
        model = augmented(trial, model, **{**arguments, **setting})
        terms = [*model.terms, Consistency(weight, threshold)]
        recompile(model, terms=keras.saving.serialize_keras_object(terms))
        return trial.fit_joined(model)

    return train


def all_labels(train):
    """A method with the labels of all samples: what more labels would gain."""

    def with_all(trial, model):
        (x, y), targets = trial.train, trial.unlabeled_targets
        joined = concatenated(x, trial.unlabeled_inputs), np.concatenate([y, targets])
        return train(dataclasses.replace(trial, train=joined), model)

    return with_all
