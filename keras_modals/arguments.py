"""Checks of arguments, in Keras's manner: early, and with the received value."""

import numbers


def check_integer(name, value, least):
    """The value as an `int`, if it is an integer of at least `least`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected an integer of at "
            f"least {least}. Received: {name}={value!r}"
        )
    return int(value)


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected one of {choices}. "
            f"Received: {name}={value!r}"
        )
