class Untracked:
    """Holds a model so that a layer with it as an attribute does not track it."""

    def __init__(self, value):
        self.value = value
