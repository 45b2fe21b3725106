import functools


def functional_like(init):
    """Decorates the constructor `(self, inputs, outputs, name=None, ...)` of a
    `keras.Model` subclass, so that its models are saved, loaded, and cloned as
    Functional models.

    Keras does so if a constructor has only `*args, **kwargs`. Since 3.15 it also does
    so if the arguments are named `inputs, outputs, name`.
    """

    @functools.wraps(init)
    def constructor(self, *args, **kwargs):
        init(self, *args, **kwargs)

    return constructor
