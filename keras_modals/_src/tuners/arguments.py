"""Arguments of Keras Tuner's that a search of a population refuses."""

#: Arguments of `keras_tuner.Oracle` that would do nothing, and what does it.
ORACLE_UNUSED = {
    "max_trials": "Use `population_size` and `generations`",
    "max_retries_per_trial": "A member that fails is replaced",
    "max_consecutive_failed_trials": (
        "A search ends when all members of a generation have failed"
    ),
}

#: Arguments of `keras_tuner.Tuner` that would do nothing, and what does it.
TUNER_UNUSED = {
    **ORACLE_UNUSED,
    "executions_per_trial": (
        "A member trains once per generation. To train more, raise `population_size`, "
        "or search again with another `seed`"
    ),
    "max_model_size": "Raise an error in the build function for a model too large",
    "optimizer": "Compile the model with it in the build function",
    "loss": "Compile the model with it in the build function",
    "metrics": "Compile the model with them in the build function",
    "distribution_strategy": "Make the model in its scope in the build function",
    "logger": "Pass callbacks to `search`",
}


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
