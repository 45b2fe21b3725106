"""Methods that learn from unlabeled samples."""

import dataclasses

import keras
import numpy as np

from keras_modals._src.data.sources import concatenated
from keras_modals._src.evaluation.augmented import augmented
from keras_modals._src.evaluation.compiled import recompile
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.terms.consistency import Consistency


def consistent(**arguments):
    """Returns a method that trains `augmented(trial, model, **arguments)` with a
    `Consistency`.

    The setting has its weight and threshold, and further arguments of `augment`. A
    regression has no pseudo-labels, so the threshold is ignored.
    """

    def train(trial, model, weight=1.0, threshold=None, **setting):
        threshold = None if trial.kind.has_numbers else threshold
        model = augmented(trial, model, **{**arguments, **setting})
        terms = [*model.terms, Consistency(weight, threshold)]
        recompile(model, terms=keras.saving.serialize_keras_object(terms))
        return trial.fit_joined(model)

    return train


def of_classes(train):
    """Restricts a method to classes and labels."""

    def of_classes_alone(trial, model, **setting):
        if trial.kind.has_numbers:
            raise NotApplicableError("needs classes")
        return train(trial, model, **setting)

    return of_classes_alone


def all_labels(train):
    """Returns a method that uses the labels of all samples, with the same number of
    steps. It measures the gain from more labels."""

    def with_all(trial, model):
        trial.kind.output.check_is_only()
        (x, y), targets = trial.arrays, trial.unlabeled_targets
        joined = concatenated(x, trial.unlabeled_inputs), np.concatenate([y, targets])
        few, many = (-(-len(each) // trial.batch_size) for each in (y, joined[1]))
        epochs = max(round(trial.epochs * few / many), 1)
        return train(dataclasses.replace(trial, train=joined, epochs=epochs), model)

    return with_all
