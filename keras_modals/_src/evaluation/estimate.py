"""How long the trainings of a comparison will take, before the first."""

import dataclasses
import time

import keras
import numpy as np

from keras_modals._src.data.sources import length_of
from keras_modals._src.evaluation.samples import count_of, is_dataset, take

#: Of how many steps an epoch is that is timed, at most.
_STEPS = 20


def steps_and_seconds(experiment):
    """How many steps a plain training has, and about how many seconds it takes, with
    its scores, by two short epochs of it. `None` for a dataset that does not say how
    many batches it has."""
    begin = time.perf_counter()
    trial, model, parts = experiment.start(0)
    length = _length(trial, experiment.kind.output)
    if length is None:
        return None
    arguments = {k: v for k, v in trial.fit_arguments.items() if k != "callbacks"}
    trial = dataclasses.replace(trial, epochs=2, monitor=None, fit_arguments=arguments)
    timer = _Timer()
    if not trial.has_dataset:
        steps = min(length, _STEPS)
        some = np.arange(steps * trial.batch_size)
        x, y = trial.train
        some = some[some < len(keras.tree.flatten(x)[0])]
        trial.fit(model, take(x, some), take(y, some), callbacks=[timer])
    elif length <= _STEPS:
        steps = length
        trial.fit(model, callbacks=[timer])
    else:
        # Keras reads on where the first epoch stopped.
        steps = min(length // 2, _STEPS)
        trial.fit(model, callbacks=[timer], steps_per_epoch=steps)
    experiment.scores(model, model, parts)
    whole, epoch = time.perf_counter() - begin, np.diff(timer.epochs)[0]
    step = np.median(np.diff(timer.steps[steps:])) if steps > 1 else epoch
    # The first of the two has what is built once.
    epoch += (length - steps) * step
    seconds = whole + 2 * (length - steps) * step + (experiment.epochs - 2) * epoch
    return length * experiment.epochs, seconds


def _length(trial, output):
    """How many batches an epoch has."""
    if is_dataset(trial.train):
        return length_of(trial.train)
    return -(-count_of(trial.train, output) // trial.batch_size)


class _Timer(keras.callbacks.Callback):
    """When each epoch of a training ended, and each of its steps did."""

    def on_train_begin(self, logs=None):
        self.epochs, self.steps = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(time.perf_counter())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter())
