"""What every operation on latents has in common."""

import dataclasses
from collections import namedtuple
from typing import ClassVar

from keras_modals._src.arguments import shown
from keras_modals._src.registry import add_class

Draw = namedtuple("Draw", ["uniform", "noise"])
Draw.__doc__ = """What one application of an operation depends on by chance.

Attributes:
    uniform: Uniform in `[0, 1)`, float32 `(n, operation.num_uniform)`.
    noise: Standard normal, float32 `(n, features)`; `None` unless `needs_noise`.
"""

Move = namedtuple("Move", ["latents", "possible"], defaults=[None])
Move.__doc__ = """What an operation makes of latents.

Attributes:
    latents: Float32 `(n, features)`, the moved latents.
    possible: Optional boolean `(n,)`, where the operation can be applied: elsewhere
        latents stay as they are.

Example:

>>> move = keras_modals.Move(keras.ops.zeros((2, 3)))
>>> move.possible is None
True
"""

#: Name to class, of all operations there are.
_CLASSES: dict[str, type] = {}

#: The names of the paper's four, which preserve labels, in its order.
PAPER_OPERATIONS = (
    "hard_interpolation",
    "hard_extrapolation",
    "gaussian_noise",
    "difference_transform",
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """A way to move latents: the base class of all operations of a `Policy`.

    An operation is a plain, frozen value: two with the same options are equal. A
    subclass that has a `name` can be used by it wherever a policy is: in
    `Policy({"name": (0.5, 0.5)})`, in schedules, searches and files. Options are the
    fields of a frozen dataclass, with defaults, of types that JSON has. One that moves
    labels along is a `keras_modals.operations.Mixing`.

    Attributes:
        name: The name in policies and files.
        keeps_labels: Whether a moved latent keeps its label.
        needs_memory: Whether it reads `batch.memory` or `batch.statistics`. A layer
            without such an operation has no memory. Defaults to `False`.
        needs_noise: Whether it takes normal noise. Defaults to `False`.
        num_uniform: Integer, how many uniform numbers it takes for each latent.
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

    #: What makes a latent of the memory a hard example, for operations that draw by it.
    hardness: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            add_class(_CLASSES, cls.name, cls)

    def move(self, latents, magnitude, batch, draw):
        """Moves latents.

        Args:
            latents: Float32 `(n, features)`, as earlier operations left them.
            magnitude: Float32 `(n, 1)` in `[0, 1]`. At 0 nothing moves.
            batch: The `Batch` that they come from, with what a memory says of it.
            draw: The `Draw` of this application.

        Returns:
            A `Move`.
        """
        raise NotImplementedError

    def get_config(self):
        """The options that are not the default: a dict that JSON can hold."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def names():
    """The names of all operations, in the order in which policies have them."""
    others = (name for name in _CLASSES if name not in PAPER_OPERATIONS)
    return (*PAPER_OPERATIONS, *others)


def get(operation, options=None):
    """The `Operation` of a name, with options; an `Operation` as it is.

    Raises:
        ValueError: For an unknown name, or options that the operation does not have.
    """
    if isinstance(operation, Operation):
        return operation
    if not isinstance(operation, str) or operation not in _CLASSES:
        raise ValueError(
            f"Unknown operation. Expected one of {names()}, or an `Operation`. One of "
            "your own is known once its class is defined. "
            f"Received: operation={shown(operation)}"
        )
    cls = _CLASSES[operation]
    expected = [field.name for field in dataclasses.fields(cls)]
    options = {} if options is None else options
    if not isinstance(options, dict) or not set(options) <= set(expected):
        raise ValueError(
            f"Unknown options of the operation '{operation}'. Expected a dict with "
            f"keys among {expected}. Received: options={shown(options)}"
        )
    return cls(**options)
