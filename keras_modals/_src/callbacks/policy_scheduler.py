import os

import keras

from keras_modals._src.arguments import shown
from keras_modals._src.models.assignment import assign
from keras_modals._src.policies.policy_schedule import PolicySchedule


class PolicyScheduler(keras.callbacks.Callback):
    """Trains a `ModalsModel` with a `PolicySchedule`.

    At the start of every epoch, the current segment is assigned to the model's
    variables, so nothing is retraced or recompiled. The schedule is stretched to the
    epochs of the training. With `initial_epoch`, it starts at that epoch.

    Args:
        schedule: A `keras_modals.PolicySchedule`, or the path of a saved one.
        epochs: Optional integer, the number of epochs to stretch the schedule to, if
            `fit` trains only some of them. Defaults to the `epochs` of `fit`.

    Example:

    >>> policies = [keras_modals.Policy.constant(0.5, m / 10) for m in range(3)]
    >>> schedule = keras_modals.PolicySchedule([(1, policy) for policy in policies])
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, "softmax")])
    >>> model = keras_modals.augment(model, policy=policies[0])
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> x, y = np.random.normal(size=(32, 8)), np.arange(32) % 3
    >>> scheduler = keras_modals.PolicyScheduler(schedule)
    >>> history = model.fit(x, y, epochs=6, callbacks=[scheduler], verbose=0)
    >>> model.latent_augmentation.policy == policies[-1]
    True
    """

    def __init__(self, schedule, epochs=None):
        super().__init__()
        if isinstance(schedule, str | os.PathLike):
            schedule = PolicySchedule.load(schedule)
        if not isinstance(schedule, PolicySchedule):
            raise ValueError(
                "Invalid value received for argument `schedule`. Expected a "
                "`keras_modals.PolicySchedule` or the path of a saved one. "
                f"Received: schedule={shown(schedule)}"
            )
        self.schedule = schedule
        self.epochs = epochs
        self._stretched = schedule

    def set_model(self, model):
        if not hasattr(model, "latent_augmentation"):
            raise ValueError(
                "`PolicyScheduler` needs a `keras_modals.ModalsModel`. "
                f"Received: {model!r}"
            )
        super().set_model(model)

    def on_train_begin(self, logs=None):
        self._stretched = self.schedule.stretch(self.epochs or self.params["epochs"])

    def on_epoch_begin(self, epoch, logs=None):
        segment = self._stretched.at(epoch)
        assign(self.model, segment.policy, segment.values)
