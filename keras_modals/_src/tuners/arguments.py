"""Arguments of Keras Tuner that a population search refuses."""

#: Arguments of `keras_tuner.Oracle` without effect, and their replacements.
ORACLE_UNUSED = {
    "max_trials": "Use `population_size` and `generations`",
    "max_retries_per_trial": "A member that fails is replaced",
    "max_consecutive_failed_trials": (
        "A search ends when all members of a generation have failed"
    ),
}

#: Arguments of `keras_tuner.Tuner` without effect, and their replacements.
TUNER_UNUSED = {
    **ORACLE_UNUSED,
    "executions_per_trial": (
        "A member trains once per generation. To train more, raise `population_size`, "
        "or search again with another `seed`"
    ),
    "max_model_size": "Raise an error in the build function if a model is too large",
    "optimizer": "Compile the model with it in the build function",
    "loss": "Compile the model with it in the build function",
    "metrics": "Compile the model with them in the build function",
    "distribution_strategy": "Create the model in its scope in the build function",
    "logger": "Pass callbacks to `search`",
}


def check_unused(unused, arguments):
    """Refuses arguments that would be accepted without effect.

    Args:
        unused: Dict from names of arguments to their replacements.
        arguments: Dict of the keyword arguments that were passed. Those in `unused` are
            removed from it if they are `None`.
    """
    for name, instead in unused.items():
        value = arguments.pop(name, None)
        if value is not None:
            raise ValueError(
                f"Argument `{name}` has no effect on a population search. "
                f"{instead}. Received: {name}={value}"
            )
