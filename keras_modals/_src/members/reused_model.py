import random

import keras

from keras_modals._src.members.generation import optimizer_variables
from keras_modals._src.models.modals_model import ModalsModel


class ReusedModel:
    """A compiled model in which members train one after another.

    Args:
        build: `fn()` that returns a compiled `ModalsModel`.
    """

    def __init__(self, build):
        self.model = built(build())
        self._initial_state = [
            (variable, keras.ops.convert_to_numpy(variable))
            for variable in optimizer_variables(self.model)
        ]

    def begin_anew(self, build, seed):
        """Resets the model to the state of a new one, with weights drawn by `seed`."""
        for variable, value in self._initial_state:
            variable.assign(value)
        # Not `keras.utils.set_random_seed`, which clears caches of TensorFlow and costs
        # most of a second each time.
        random.seed(seed)
        fresh = built(build())
        self.model.set_weights(fresh.get_weights())
        for term, other in zip(self.model.terms, fresh.terms, strict=True):
            term.take_state(other)


def built(model):
    """Checks the model from a build function, and builds its optimizer.

    Raises:
        TypeError: If it is not a compiled `ModalsModel`.
    """
    if not isinstance(model, ModalsModel) or not model.compiled:
        raise TypeError(
            "The build function must return a compiled `keras_modals.ModalsModel`. "
            f"Received: {model}"
        )
    model.optimizer.build(model.trainable_variables)
    return model
