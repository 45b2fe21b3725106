"""Base class and registry of operations on latents."""

import dataclasses
from collections import namedtuple
from typing import ClassVar

from keras_modals._src.arguments import shown
from keras_modals._src.registry import add_class

Draw = namedtuple("Draw", ["uniform", "noise"])
Draw.__doc__ = """The random numbers for one application of an operation.

Attributes:
    uniform: Uniform in `[0, 1)`, float32 `(n, operation.num_uniform)`.
    noise: Standard normal, float32 `(n, features)`; `None` unless `needs_noise`.
"""

Move = namedtuple("Move", ["latents", "possible"], defaults=[None])
Move.__doc__ = """The result of an operation.

Attributes:
    latents: Float32 `(n, features)`, the moved latents.
    possible: Optional boolean `(n,)`, where the operation can be applied. Other
        latents stay unchanged.

Example:

>>> move = keras_modals.Move(keras.ops.zeros((2, 3)))
>>> move.possible is None
True
"""

#: Maps the name of every known operation to its class.
_CLASSES: dict[str, type] = {}

#: Names of the paper's four operations, which preserve labels, in the paper's order.
PAPER_OPERATIONS = (
    "hard_interpolation",
    "hard_extrapolation",
    "gaussian_noise",
    "difference_transform",
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """Base class of the operations of a `Policy`: a way to move latents.

    An operation is a frozen value; two operations with the same options are equal. A
    subclass with a `name` can be used by that name wherever policies are used: in
    `Policy({"name": (0.5, 0.5)})`, schedules, searches, and files. Options are the
    fields of a frozen dataclass. They need defaults and JSON-compatible types. An
    operation that also moves labels is a `keras_modals.operations.Mixing`.

    Attributes:
        name: The name in policies and files.
        keeps_labels: Whether a moved latent keeps its label.
        needs_memory: Whether it reads `batch.memory` or `batch.statistics`. A layer
            without such an operation has no memory. Defaults to `False`.
        needs_noise: Whether it uses Gaussian noise. Defaults to `False`.
        num_uniform: Integer, the number of uniform numbers it uses per latent.
            Defaults to `0`.

    Example:

    >>> class Shrink(keras_modals.Operation):
    ...     name = "shrink"
    ...
    ...     def move(self, latents, magnitude, batch, draw):
    ...         return keras_modals.Move(latents * (1 - magnitude))
    >>> policy = keras_modals.Policy.single("shrink", 0.1)
    """

    name: ClassVar[str]
    keeps_labels: ClassVar[bool] = True
    needs_memory: ClassVar[bool] = False
    needs_noise: ClassVar[bool] = False
    num_uniform: ClassVar[int] = 0

    #: The kind of hardness, for operations that draw hard examples from the memory.
    hardness: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            add_class(_CLASSES, cls.name, cls)

    def move(self, latents, magnitude, batch, draw):
        """Moves latents.

        Args:
            latents: Float32 `(n, features)`, the output of earlier operations.
            magnitude: Float32 `(n, 1)` in `[0, 1]`. At 0 latents must not move.
            batch: The `Batch` that the latents come from, with the memory's statistics.
            draw: The `Draw` of this application.

        Returns:
            A `Move`.
        """
        raise NotImplementedError

    def get_config(self):
        """Returns the options that differ from their defaults, as a dict."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def names():
    """Lists the names of all operations, in the order used by policies."""
    others = (name for name in _CLASSES if name not in PAPER_OPERATIONS)
    return (*PAPER_OPERATIONS, *others)


def get(operation, options=None):
    """Returns the `Operation` with the given name and options.

    An `Operation` is returned as it is.

    Raises:
        ValueError: If the name is unknown, or the operation lacks one of the options.
    """
    if isinstance(operation, Operation):
        return operation
    if not isinstance(operation, str) or operation not in _CLASSES:
        raise ValueError(
            f"Unknown operation. Expected one of {names()}, or an `Operation`. A "
            "custom operation is known once its class is defined. "
            f"Received: operation={shown(operation)}"
        )
    cls = _CLASSES[operation]
    expected = [field.name for field in dataclasses.fields(cls)]
    options = {} if options is None else options
    if not isinstance(options, dict) or not set(options) <= set(expected):
        raise ValueError(
            f"Unknown options for the operation '{operation}'. Expected a dict with "
            f"keys among {expected}. Received: options={shown(options)}"
        )
    return cls(**options)
