"""Argument checks in the style of Keras: early, and with the received value."""

import difflib
import inspect
import math
import numbers

import numpy as np

#: Numbers that may change during training: maps each name to a description of the
#: valid range and a check of a value. Terms add their weights.
BOUNDS = {
    "dropout": ("a float in [0, 1)", lambda value: 0 <= value < 1),
    "learning_rate": ("a positive finite float", lambda v: 0 < v < math.inf),
}


def check_bounds(name, value, argument=None):
    """Checks a number against `BOUNDS` and returns it as an `int` or a `float`.

    The value must also be valid as float32, the dtype of variables. `argument` is the
    name to show in the message, if it differs from `name`."""
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
    """Returns the value as an `int`, after checking that it is at least `least`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected an integer of at "
            f"least {least}. Received: {name}={shown(value)}"
        )
    return int(value)


def check_boolean(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected a boolean. "
            f"Received: {name}={shown(value)}"
        )
    return bool(value)


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected one of {choices}. "
            f"Received: {name}={value!r}"
        )


def check_known(function, arguments, others, owner):
    """Refuses keyword arguments that a function passes on, but nobody takes.

    Args:
        function: The function.
        arguments: Dict of the arguments that it passes on.
        others: Names that it may pass on.
        owner: String, what it passes them to.
    """
    own = inspect.signature(function).parameters
    for name, value in arguments.items():
        if name not in others:
            raise TypeError(
                f"`{function.__name__}` got an unexpected argument {name!r}. "
                f"{suggestion(name, [*own, *others])}It accepts its own arguments and "
                f"those of {owner}. Received: {name}={shown(value)}"
            )


def suggestion(name, names):
    """Returns a sentence that names the most similar of some names, if there is one."""
    found = difflib.get_close_matches(str(name), list(names), n=1)
    return f"Did you mean {found[0]!r}? " if found else ""


def shown(value):
    """Formats a value for an error message, truncated if long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        # Python refuses to print integers of thousands of digits.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}..."
