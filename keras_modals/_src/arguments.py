"""Checks of arguments, in Keras's manner: early, and with the received value."""

import math
import numbers

import numpy as np

#: Numbers that may change while a model trains: name to what is expected, and whether a
#: number is that. Terms add their weights.
BOUNDS = {
    "dropout": ("a float in [0, 1)", lambda value: 0 <= value < 1),
    "learning_rate": ("a positive finite float", lambda v: 0 < v < math.inf),
}


def check_bounds(name, value, argument=None):
    """The value as an `int` or a `float`, if it is within `BOUNDS`, also as float32,
    which is what variables are. An `argument` has another name than the number."""
    argument = argument or name
    expected, is_within = BOUNDS[name]
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and is_within(value) and is_within(_float32(value))):
        raise ValueError(
            f"Invalid value received for argument `{argument}`. Expected {expected}. "
            f"Received: {argument}={shown(value)}"
        )
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _float32(value):
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    except OverflowError:
        return math.inf


def check_integer(name, value, least):
    """The value as an `int`, if it is an integer of at least `least`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected an integer of at "
            f"least {least}. Received: {name}={shown(value)}"
        )
    return int(value)


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected one of {choices}. "
            f"Received: {name}={value!r}"
        )


def shown(value):
    """A value as an error message shows it, cut where it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        # Python does not write integers of thousands of digits.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}..."
