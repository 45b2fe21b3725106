import functools


def functional_like(init):
    """Decorates the constructor `(self, inputs, outputs, name=None, ...)` of a subclass
    of `keras.Model`: its models are saved, loaded and cloned as Functional ones are,
    with their graph.

    Keras does so where a constructor names no arguments but `*args, **kwargs`. Only
    since 3.15 does it where one names `inputs, outputs, name`.
    """

    @functools.wraps(init)
    def constructor(self, *args, **kwargs):
        init(self, *args, **kwargs)

    return constructor
