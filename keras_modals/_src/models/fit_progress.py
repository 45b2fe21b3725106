import keras
from keras import ops

from keras_modals._src.data.joined import JoinedData


class FitProgress(keras.callbacks.Callback):
    """Tells a model's terms how many steps `fit` takes, and joined data which epoch it
    is, which is not the first where a training goes on after a stop.

    Args:
        model: The `ModalsModel`.
        data: What `fit` is given.
    """

    def __init__(self, model, data):
        super().__init__()
        self._training = model
        self._data = data if isinstance(data, JoinedData) else None
        self._is_known = False

    def on_train_begin(self, logs=None):
        self._is_known = False
        self._tell(self.params.get("steps"))

    def on_epoch_begin(self, epoch, logs=None):
        if self._data is not None:
            self._data.epoch = epoch
        if not self._is_known:
            # Of a stream, Keras knows the steps after an epoch of them.
            self._tell(self.params.get("steps") or self._done() // max(epoch, 1))

    def _tell(self, steps_per_epoch):
        self._is_known = bool(steps_per_epoch)
        num_steps = None
        if steps_per_epoch:
            num_steps = steps_per_epoch * self.params["epochs"]
        for term in self._training.terms:
            term.begin_fit(num_steps, self._done())

    def _done(self):
        return int(ops.convert_to_numpy(self._training.optimizer.iterations))
