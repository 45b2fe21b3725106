import math
import numbers
from collections.abc import Mapping

import keras
import numpy as np

from keras_modals._src import operations as known
from keras_modals._src.arguments import shown
from keras_modals._src.operations import PAPER_OPERATIONS
from keras_modals._src.policies import files

PAPER_COUNTS = (0.2, 0.7, 0.1)


@keras.saving.register_keras_serializable("keras_modals")
class Policy:
    """How often and how strongly each operation acts on latents. Immutable.

    A policy is a list of sub-policies `(operation, probability, magnitude)`. For each
    sample, `LatentAugmentation` draws the number of operations to apply. It then visits
    the sub-policies in random order and applies each with its probability, until that
    number is reached. Operations compose: the second acts on the result of the first.
    Operations that also move labels, such as `class_mixing`, are not counted: they act
    afterward, with their own probability.

    Args:
        operations: Mapping from an operation to its probability and magnitude, a pair
            of floats in `[0, 1]`, or to a list of such pairs to use an operation
            several times. An operation is a name (`"hard_interpolation"`,
            `"hard_extrapolation"`, `"gaussian_noise"`, `"difference_transform"`,
            `"class_mixing"`), or a `keras_modals.Operation` with options.
        operation_counts: Tuple of floats that sum to 1. Entry `n` is the probability
            that `n` operations are applied to a sample. Fewer are applied if the
            sub-policies run out. Defaults to the paper's `(0.2, 0.7, 0.1)`.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> policy = keras_modals.Policy({"difference_transform": (0.5, 0.7)})
    >>> policy.sub_policies
    (('difference_transform', 0.5, 0.7),)
    """

    __slots__ = ("_by_name", "_operation_counts", "_sub_policies")

    def __init__(self, operations, operation_counts=PAPER_COUNTS):
        if not isinstance(operations, Mapping) or not operations:
            raise ValueError(
                "Invalid value received for argument `operations`. Expected a "
                "non-empty mapping from operation names to (probability, magnitude) "
                f"pairs. Received: operations={shown(operations)}"
            )
        given = {known.get(key): pairs for key, pairs in operations.items()}
        pairs = {
            operation.name: _pairs(operation.name, value)
            for operation, value in given.items()
        }
        if len(pairs) < len(given):
            raise ValueError(
                "A policy may have each operation only once, with one set of options. "
                f"Received: operations={shown(list(operations))}"
            )
        by_name = {operation.name: operation for operation in given}
        order = [name for name in known.names() if name in by_name]
        self._by_name = {name: by_name[name] for name in order}
        self._sub_policies = tuple(
            (name, *pair) for name in order for pair in pairs[name]
        )
        self._operation_counts = _distribution(operation_counts)

    @property
    def sub_policies(self):
        """Tuple of `(operation, probability, magnitude)`, ordered by operation."""
        return self._sub_policies

    @property
    def operation_counts(self):
        """Tuple; entry `n` is the probability that `n` operations are applied."""
        return self._operation_counts

    @property
    def operations(self):
        """Dict from each operation's name to its list of `(probability, magnitude)`."""
        operations: dict[str, list] = {}
        for name, probability, magnitude in self._sub_policies:
            operations.setdefault(name, []).append((probability, magnitude))
        return operations

    @property
    def by_name(self):
        """Dict from each operation's name to its `keras_modals.Operation`."""
        return dict(self._by_name)

    @classmethod
    def constant(cls, probability, magnitude, operations=PAPER_OPERATIONS, repeats=2):
        """Creates a policy with the same probability and magnitude everywhere.

        `Policy.constant(0.5, 0.5)` is the fixed policy of the paper's comparison.
        """
        pairs = [(probability, magnitude)] * repeats
        return cls(dict.fromkeys(operations, pairs))

    @classmethod
    def single(cls, operation, magnitude):
        """Creates a policy with one operation, applied to every sample.

        `Policy.single("class_mixing", 1.0)` is manifold mixup.
        """
        return cls({operation: (1.0, magnitude)}, operation_counts=(0.0, 1.0))

    @classmethod
    def zero(cls, operations=PAPER_OPERATIONS, repeats=2):
        """Creates a policy that never moves a latent: where a search starts."""
        return cls.constant(0.0, 0.0, operations, repeats)

    @classmethod
    def random(cls, seed=None, operations=PAPER_OPERATIONS, repeats=2):
        """Draws a policy uniformly from the paper's grid 0.0, 0.1, ..., 1.0."""
        levels = np.random.default_rng(seed).integers(
            0, 11, size=(len(operations), repeats, 2)
        )
        return cls(
            {
                operation: [(int(p) / 10, int(m) / 10) for p, m in pairs]
                for operation, pairs in zip(operations, levels, strict=True)
            }
        )

    def with_values(self, probabilities, magnitudes):
        """Returns the same operations with other values, one of each per sub-policy."""
        operations: dict[known.Operation, list] = {}
        names = [name for name, _, _ in self._sub_policies]
        for name, *pair in zip(names, probabilities, magnitudes, strict=True):
            operations.setdefault(self._by_name[name], []).append(pair)
        return Policy(operations, self._operation_counts)

    def mixing_part(self):
        """Returns a policy with only the operations that move labels, or `None`."""
        pairs = self.operations
        mixing = {
            operation: pairs[name]
            for name, operation in self._by_name.items()
            if not operation.keeps_labels
        }
        return Policy(mixing, self._operation_counts) if mixing else None

    def get_config(self):
        config = {
            "operations": {
                name: [list(pair) for pair in pairs]
                for name, pairs in self.operations.items()
            },
            "operation_counts": list(self._operation_counts),
        }
        options = {name: each.get_config() for name, each in self._by_name.items()}
        options = {name: values for name, values in options.items() if values}
        return {**config, "options": options} if options else config

    @classmethod
    def from_config(cls, config):
        files.check_keys(config, ("operations",), ("operation_counts", "options"))
        with files.located("operations"):
            if not isinstance(config["operations"], dict):
                files.check_keys(config["operations"], (), known.names())
            for name, pairs in config["operations"].items():
                with files.located(name):
                    known.get(name)
                    _pairs(name, pairs)
        options = config.get("options", {})
        operations = {}
        with files.located("options"):
            files.check_keys(options, (), config["operations"])
            for name, pairs in config["operations"].items():
                with files.located(name):
                    operations[known.get(name, options.get(name))] = pairs
        with files.located("operation_counts"):
            counts = _distribution(config.get("operation_counts", PAPER_COUNTS))
        with files.located("operations"):
            return cls(operations, counts)

    def save(self, path):
        """Saves the policy as JSON, with pairs of probability and magnitude."""
        files.save(path, "Policy", self.get_config())

    @classmethod
    def load(cls, path):
        """Loads a policy saved by `save`.

        An invalid file raises a `ValueError` with the file and line."""
        return files.load(path, "Policy", cls.from_config)

    def __eq__(self, other):
        if not isinstance(other, Policy):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return (
            self._sub_policies,
            self._operation_counts,
            tuple(self._by_name.values()),
        )

    def __str__(self):
        """One line of probability times magnitude, for sub-policies that act."""
        parts = [
            f"{name} {probability:g}x{magnitude:g}"
            for name, probability, magnitude in self._sub_policies
            if probability * magnitude > 0
        ]
        return ", ".join(parts) or "no augmentation"

    def __repr__(self):
        operations = {
            each if each.get_config() else name: self.operations[name]
            for name, each in self._by_name.items()
        }
        return f"Policy({operations}, operation_counts={self._operation_counts})"


def _pairs(name, value):
    pairs = [value] if _is_pair(value) else value
    if (
        not isinstance(pairs, (list, tuple))
        or not pairs
        or not all(_is_pair(pair) for pair in pairs)
    ):
        raise ValueError(
            f"Invalid value received for operation '{name}'. Expected a "
            "(probability, magnitude) pair or a list of such pairs. "
            f"Received: {name}={shown(value)}"
        )
    return [
        (
            _unit_interval(name, "probability", probability),
            _unit_interval(name, "magnitude", magnitude),
        )
        for probability, magnitude in pairs
    ]


def _is_pair(value):
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(map(_is_number, value))
    )


def _is_number(value):
    if isinstance(value, float):
        return True
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _unit_interval(name, what, value):
    if not 0 <= value <= 1:
        raise ValueError(
            f"Invalid {what} received for operation '{name}'. Expected a float "
            f"between 0 and 1. Received: {what}={shown(value)}"
        )
    return float(value)


def _distribution(counts):
    if isinstance(counts, np.ndarray):
        counts = counts.tolist()
    if (
        not isinstance(counts, (list, tuple))
        or len(counts) < 2
        or not all(_is_number(n) and 0 <= n < 2 for n in counts)
        or not math.isclose(sum(counts), 1.0, abs_tol=1e-6)
    ):
        raise ValueError(
            "Invalid value received for argument `operation_counts`. Expected at "
            "least two non-negative floats that sum to 1. "
            f"Received: operation_counts={shown(counts)}"
        )
    return tuple(float(n) for n in counts)
