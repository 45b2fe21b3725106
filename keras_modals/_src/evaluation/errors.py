class NotApplicableError(ValueError):
    """Raised if a method does not apply to the model or data. The message says why."""
