class NotApplicableError(ValueError):
    """A method has no meaning for this model or data; its message says why."""
