import warnings

import keras
from keras import ops

from keras_modals._src.data.joined import JoinedData


class FitProgress(keras.callbacks.Callback):
    """Tells terms the number of steps of `fit`, and joined data the current epoch.

    The first epoch may be a later one if a stopped training is resumed.

    Args:
        model: The `ModalsModel`.
        data: The data passed to `fit`.
    """

    def __init__(self, model, data):
        super().__init__()
        self._training = model
        self._data = data if isinstance(data, JoinedData) else None
        self._is_known, self._start = False, None
        self._steps = None
        # Keras also ends an epoch of the data when it peeks at a batch.
        self._before = 0 if self._data is None else self._data.epoch

    def on_train_begin(self, logs=None):
        self._is_known, self._start = False, None
        self._steps = steps = self.params.get("steps")
        optimizer = self._training.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        accumulated = optimizer.gradient_accumulation_steps or 1
        self._tell(steps and steps * self.params["epochs"] // accumulated)

    def on_epoch_begin(self, epoch, logs=None):
        if self._start is None:
            self._start = epoch, self._done()
            if self._data is not None:
                # Resume at the data's epoch, or at that of the stopped training.
                self._before = max(self._before - epoch, 0)
        elif not self._is_known:
            # The steps per epoch of a stream are known after one epoch.
            first, done = self._start
            steps = (self._done() - done) / (epoch - first)
            self._tell(int(steps * self.params["epochs"]))
        if self._data is not None and self._data.num_batches == self._steps:
            self._data.epoch = self._before + epoch

    def on_train_end(self, logs=None):
        terms = [term for term in self._training.terms if term.waits_for_length]
        if terms and not self._is_known:
            warnings.warn(
                "The weights of terms grow over the steps of `fit`, but the stream has "
                "no known length: pass `steps_per_epoch`. Received: "
                f"{[term.kind for term in terms]}, which had no weight in this epoch",
                stacklevel=2,
            )

    def _tell(self, num_steps):
        self._is_known = bool(num_steps)
        for term in self._training.terms:
            term.begin_fit(num_steps or None, self._done())

    def _done(self):
        return int(ops.convert_to_numpy(self._training.optimizer.iterations))
