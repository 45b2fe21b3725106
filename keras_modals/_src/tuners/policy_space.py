"""A policy as hyperparameters, for any tuner of Keras Tuner."""

import json

from keras_modals._src import operations as known
from keras_modals._src.operations import PAPER_OPERATIONS
from keras_modals._src.policies.policy import Policy

PREFIX = "policy/"
#: The highest level. Keras Tuner's floats in steps of 0.1 end at 0.9.
_TOP = 10
_COUNTS = PREFIX + "operation_counts"
_OPTIONS = PREFIX + "options"
_PAIR = ("probability", "magnitude")


def policy_space(
    hp,
    operations=PAPER_OPERATIONS,
    repeats=2,
    operation_counts=(0.2, 0.7, 0.1),
    layers=None,
):
    """Declares a policy's probabilities and magnitudes, and returns the policy.

    Works with every tuner of Keras Tuner. The hyperparameters are the paper's levels,
    integers from 0 to 10 that stand for tenths. They are 0 by default, a policy without
    moves.

    Args:
        hp: The `keras_tuner.HyperParameters` of a build function.
        operations: Sequence of operations, by name or with options. Defaults to the
            paper's four.
        repeats: Integer, the number of times that each operation appears. Defaults to
            `2`.
        operation_counts: As in `Policy`.
        layers: Optional integer, the number of layers with their own policies. Defaults
            to `None`, one policy for all layers.

    Returns:
        A `keras_modals.Policy`; with `layers`, a list of them.

    Example:

    ```python
    def build(hp):
        model = keras_modals.augment(
            make_model(), policy=keras_modals.tuners.policy_space(hp)
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=20)
    ```
    """
    operations = [known.get(operation) for operation in operations]
    hp.Fixed(_COUNTS, ",".join(str(float(count)) for count in operation_counts))
    options = {each.name: each.get_config() for each in operations}
    if any(options.values()):
        hp.Fixed(_OPTIONS, json.dumps(options))

    def number(layer, operation, index, what):
        name = f"{PREFIX}{layer}{operation.name}/{index}/{what}"
        return hp.Int(name, 0, _TOP, default=0) / _TOP

    def policy(layer):
        return Policy(
            {
                operation: [
                    tuple(number(layer, operation, index, what) for what in _PAIR)
                    for index in range(repeats)
                ]
                for operation in operations
            },
            operation_counts,
        )

    if layers is None:
        return policy("")
    return [policy(f"{index}/") for index in range(layers)]


def policy_from_values(values):
    """Returns the policy for the values of a trial, or `None` if it has no policy."""
    if _COUNTS not in values:
        return None
    layers: dict[str, dict] = {}
    for name, value in values.items():
        if name.startswith(PREFIX) and name not in (_COUNTS, _OPTIONS):
            *layer, operation, index, what = name[len(PREFIX) :].split("/")
            operations = layers.setdefault("".join(layer), {})
            pair = operations.setdefault(operation, {}).setdefault(int(index), {})
            pair[what] = value / _TOP
    options = json.loads(values.get(_OPTIONS, "{}"))
    counts = tuple(float(count) for count in values[_COUNTS].split(","))

    def policy(operations):
        return Policy(
            {
                known.get(operation, options.get(operation)): [
                    tuple(pair[what] for what in _PAIR)
                    for _, pair in sorted(pairs.items())
                ]
                for operation, pairs in operations.items()
            },
            counts,
        )

    if "" in layers:
        return policy(layers[""])
    return tuple(policy(layers[key]) for key in sorted(layers, key=int))
