"""Arguments of Keras Tuner's that would do nothing in a search of a population."""


def check_unused(unused, arguments):
    """Refuses arguments that would be accepted and not read.

    Args:
        unused: Dict from names to what to write instead.
        arguments: The keyword arguments that were passed, those in `unused` of which
            are taken out, where they are `None`.
    """
    for name, instead in unused.items():
        value = arguments.pop(name, None)
        if value is not None:
            raise ValueError(
                f"Argument `{name}` has no effect on a search of a population. "
                f"{instead}. Received: {name}={value}"
            )
