"""Estimates the time of a comparison before its first training."""

import dataclasses
import time

import keras
import numpy as np

from keras_modals._src.data.sources import length_of
from keras_modals._src.evaluation.samples import count_of, is_dataset, take

#: The maximum number of steps in an epoch that is timed.
_STEPS = 20


def steps_and_seconds(experiment):
    """Estimates the number of steps of a plain training, and the seconds it takes.

    The time includes scoring, and is estimated from two short epochs. It is `None` for
    datasets that all trainings share: reading one may change the order in which it
    yields samples later. Both are `None` for a dataset of unknown length.
    """
    begin = time.perf_counter()
    trial, model, parts = experiment.start(0)
    length = _length(trial, experiment.kind.output)
    if length is None:
        return None, None
    if experiment.shares_datasets and any(map(is_dataset, parts.values())):
        return length * experiment.epochs, None
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
        # Keras continues reading where the first epoch stopped.
        steps = min(length // 2, _STEPS)
        trial.fit(model, callbacks=[timer], steps_per_epoch=steps)
    experiment.scores(model, model, parts)
    whole, epoch = time.perf_counter() - begin, np.diff(timer.epochs)[0]
    step = np.median(np.diff(timer.steps[steps:])) if steps > 1 else epoch
    # Only the first of the two epochs includes the one-time setup.
    epoch += (length - steps) * step
    seconds = whole + 2 * (length - steps) * step + (experiment.epochs - 2) * epoch
    return length * experiment.epochs, seconds


def _length(trial, output):
    """The number of batches in an epoch."""
    if is_dataset(trial.train):
        return length_of(trial.train)
    return -(-count_of(trial.train, output) // trial.batch_size)


class _Timer(keras.callbacks.Callback):
    """Records the times at which the epochs and steps of a training end."""

    def on_train_begin(self, logs=None):
        self.epochs, self.steps = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(time.perf_counter())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter())
