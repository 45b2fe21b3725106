class Untracked:
    """Holds a model that is not a part of the layer that has it as an attribute."""

    def __init__(self, value):
        self.value = value
