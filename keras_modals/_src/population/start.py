"""Arguments and initial values of a population-based search."""

import numpy as np

from keras_modals._src.arguments import check_choice, check_integer, shown

#: Initial policies: no augmentation, the declared policy, or random policies for all
#: members but the first, which has no augmentation.
INITIAL = ("zero", "policy", "random")


def check_arguments(population_size, smoothing, quantile, initial):
    """Checks the arguments that all population-based searches share."""
    check_integer("population_size", population_size, 1)
    check_smoothing(smoothing)
    check_quantile(quantile)
    check_choice("initial", initial, INITIAL)


def check_smoothing(smoothing):
    _check_float("smoothing", smoothing, 0 <= smoothing < 1, "[0, 1)")


def check_quantile(quantile):
    _check_float("quantile", quantile, 0 < quantile <= 0.5, "(0, 0.5]")


def _check_float(name, value, is_valid, interval):
    if not is_valid:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected a float in "
            f"{interval}. Received: {name}={shown(value)}"
        )


def check_seed(seed):
    """Checks a seed and returns it as an `int`; `None` gives a random one."""
    if seed is None:
        return int(np.random.default_rng().integers(2**31))
    return check_integer("seed", seed, 0)


def check_validation(fit_arguments):
    """Raises if arguments of `fit` have no validation data."""
    given = fit_arguments.get("validation_data") is not None
    if not given and not fit_arguments.get("validation_split"):
        raise ValueError(
            "A search scores members on validation data. Pass `validation_data` or a "
            f"positive `validation_split`. Received: {sorted(fit_arguments)}"
        )


def check_fit_arguments(arguments, generations, epochs_per_generation):
    """Raises if members could not be scored with these arguments of `fit`."""
    check_validation(arguments)
    for name in ("epochs", "initial_epoch"):
        if name in arguments:
            raise ValueError(
                "The number of epochs of a search is `generations` times "
                f"`epochs_per_generation`. Received: {name}={arguments[name]}"
            )
    frequency = arguments.get("validation_freq", 1)
    epochs = epochs_per_generation
    ends = range(epochs, generations * epochs + 1, epochs)
    if isinstance(frequency, int):
        missing = [end for end in ends if end % frequency]
    else:
        missing = [end for end in ends if end not in frequency]
    if missing:
        raise ValueError(
            "Invalid value received for argument `validation_freq`. Expected a value "
            "that validates the last epoch of every generation, which scores the "
            f"members. Received: validation_freq={frequency}, which skips epoch "
            f"{missing[0]}"
        )


def start_values(size, initial, first, draw):
    """Creates the values of a first generation.

    Args:
        size: The number of members.
        initial: One of `INITIAL`.
        first: The values of the first member and, unless `initial` is `"random"`, of
            all members.
        draw: `fn()` that returns random values.
    """
    is_random = initial == "random"
    return [first, *(draw() if is_random else first for _ in range(1, size))]
