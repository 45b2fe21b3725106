import math
import weakref
from collections import namedtuple
from collections.abc import Callable
from typing import Any, ClassVar

import keras

from keras_modals._src.arguments import BOUNDS, check_bounds
from keras_modals._src.registry import add_class

TermLosses = namedtuple("TermLosses", ["encoder", "own", "logs"], defaults=[None, None])
TermLosses.__doc__ = """What a term says of a batch, scalars all.

Attributes:
    encoder: The loss that encoder and head minimize, times the term's weight.
    own: Of a term with variables that it trains itself, the loss that these minimize.
        It sends no gradient to the encoder, nor does `encoder` to them.
    logs: Dict from name to value, for the logs. Defaults to `encoder`, as
        `<kind>_loss`.

Example:

>>> losses = keras_modals.TermLosses(keras.ops.zeros(()))
>>> losses.own is None
True
"""

TermStep = namedtuple(
    "TermStep", ["clean", "outputs", "rows", "inputs", "unlabeled", "mask"]
)
TermStep.__doc__ = """What a training step has for terms.

Attributes:
    clean: What the layer nearest to the head received, as `Recorded`; `None` where no
        term reads latents.
    outputs: What the head says of its rows, `(rows, ...)`.
    rows: The `RowMap` of the step.
    inputs: The model's inputs.
    unlabeled: Boolean `(batch,)`, or for each position `(batch, ...)`, what is there
        and has no label; `None` where no term learns from such.
    mask: Boolean `(batch, ...)`, the positions of the samples, where only those are
        mixed that both have; else `None`.

Example:

>>> class Sure(keras_modals.Term):
...     kind, reads_latents, reads_unlabeled = "sure", False, True
...
...     def losses_of_step(self, step):
...         unlabeled = keras.ops.cast(step.rows.tile(step.unlabeled), "float32")
...         likely = keras.ops.max(step.outputs, axis=-1)
...         return keras_modals.TermLosses(keras.ops.mean(unlabeled * (1 - likely)))
"""

#: Kind to class, of all terms there are.
TERMS: dict[str, Any] = {}


class Term:
    """A loss on clean latents, beside the task's: the base class of all terms.

    A subclass has a `kind`, and `losses`. Its weight is then an argument of `compile`,
    `<kind>_weight`, and a number that a `PolicySchedule` may change. One with arguments
    of its own is given to `compile` itself, in `terms`, and has them in `get_config`.

    Args:
        weight: Float within the class's `bounds`. At 0 the term is left out.

    Attributes:
        kind: String, the term's name in arguments, schedules and logs.
        bounds: Pair of what its weight must be, in words, and a function that says
            whether a number is that.
        is_share: Whether the task's weight is what this one's leaves of 1.
        needs_groups: Whether it reads labels. Defaults to `True`.
        reads_latents: Whether it reads latents. Defaults to `True`.
        reads_unlabeled: Whether it learns from samples without labels, which then count
            neither in the task's loss nor in metrics. Defaults to `False`.
        levels: The weights that a one-run search tries; `None` to try no other.
        weight: The variable, a float32 scalar.
        optimizer: What trains `own_variables`; `None` without them.
        metrics: List of `keras.metrics.Metric`, for the logs.

    Example:

    >>> class Norm(keras_modals.Term):
    ...     kind = "norm"
    ...
    ...     def losses(self, latents, labels, sample_weight=None):
    ...         norms = keras.ops.sum(keras.ops.square(latents), axis=-1)
    ...         return keras_modals.TermLosses(keras.ops.mean(norms))
    >>> model = keras_modals.augment(keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(4),
    ...     keras.layers.Dense(3, "softmax"),
    ... ]))
    >>> model.compile("adam", "sparse_categorical_crossentropy", norm_weight=0.1)
    >>> x, y = np.random.normal(size=(30, 8)), np.arange(30) % 3
    >>> sorted(model.fit(x, y, verbose=0).history)
    ['loss', 'norm_loss']
    """

    kind: ClassVar[str]
    bounds: ClassVar[tuple[str, Callable]] = (
        "a finite float of at least 0",
        lambda value: 0 <= value < math.inf,
    )
    is_share: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = True
    reads_latents: ClassVar[bool] = True
    reads_unlabeled: ClassVar[bool] = False
    levels: ClassVar[Any] = None
    log_names: ClassVar[tuple[str, ...] | None] = None

    optimizer: Any = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            add_class(TERMS, cls.kind, cls)
            BOUNDS[cls.weight_name()] = cls.bounds
            register = keras.saving.register_keras_serializable
            register("keras_modals", f"term_{cls.kind}")(cls)

    @classmethod
    def weight_name(cls):
        """The name of its weight, in arguments, schedules and searches."""
        return f"{cls.kind}_weight"

    def __init__(self, weight=0.0):
        self.initial_weight = check_bounds(self.weight_name(), weight)
        self.weight: Any = None
        self._model: Any = None
        self.metrics: list[Any] = []

    def build(self, num_features):
        """Creates the term's state for latents of so many features. Called by
        `compile`."""
        if self.weight is None:
            self.weight = keras.Variable(
                self.initial_weight,
                dtype="float32",
                trainable=False,
                autocast=False,
                name=self.weight_name(),
            )
            names = self.log_names or (f"{self.kind}_loss",)
            self.metrics = [keras.metrics.Mean(name) for name in names]
        self.weight.assign(self.initial_weight)

    def prepare(self, model):
        """Makes the term ready for a `ModalsModel` that is being compiled."""
        if self._model is not None and self._model() is not model:
            raise ValueError(
                f"The term '{self.kind}' is that of another model, whose state it "
                "has: make one for each. "
                f"Received: terms with {self!r}"
            )
        num_features = model.latent_augmentation.num_features
        if num_features is None and self.reads_latents:
            raise ValueError(
                f"The term '{self.kind}' needs latents whose axes, other than the "
                "first, have known sizes, at the layer that is the nearest to the "
                "head: put one behind the pooling. "
                f"Received: '{model.latent_augmentation.name}'"
            )
        self._model = weakref.ref(model)
        self.build(num_features)
        if self.optimizer is None:
            return
        scaled = keras.optimizers.LossScaleOptimizer
        is_scaled = isinstance(model.optimizer, scaled)
        if is_scaled and not isinstance(self.optimizer, scaled):
            self.optimizer = scaled(self.optimizer)
        self.optimizer.build(self.own_variables)

    def losses(self, latents, labels, sample_weight=None):
        """The `TermLosses` of a batch.

        Args:
            latents: `(batch, features)`, those that the layer nearest to the head
                receives.
            labels: int32 `(batch,)`, the samples' classes, or bins of their numbers;
                with several labels at once, rows of 0 and 1, `(batch, num_labels)`. -1
                for none, and for samples that were mixed or moved before.
            sample_weight: Float32 `(batch,)`, 0 for samples that were mixed or moved
                before, whose latents are of no sample, else 1; `None` where there are
                none.
        """
        raise NotImplementedError

    def losses_of_step(self, step):
        """The `TermLosses` of a `TermStep`: of its clean latents, by `losses`."""
        clean = step.clean
        return self.losses(clean.latents, clean.labels, clean.sample_weight)

    @property
    def waits_for_length(self):
        """Whether it has no weight before it is known how long a training is."""
        return False

    def begin_fit(self, num_steps, done):
        """Takes note of how long a training is. Called where `fit` begins, and again
        after an epoch if the number of steps is known then only.

        Args:
            num_steps: How many of the optimizer's steps there are in all; `None` where
                it is not known.
            done: How many there have been.
        """

    @property
    def own_variables(self):
        """Variables that the term's optimizer updates."""
        return []

    @property
    def variables(self):
        """All state but that of the optimizer and of metrics."""
        return [self.weight, *self.own_variables]

    @property
    def all_variables(self):
        """All state, that of the optimizer included."""
        slots = [] if self.optimizer is None else self.optimizer.variables
        return [*self.variables, *slots]

    def take_state(self, other):
        """Takes the values of another term's variables."""
        for variable, value in zip(self.variables, other.variables, strict=True):
            variable.assign(value)

    @property
    def seeds(self):
        """Those of the variables that are states of seed generators."""
        return []

    def update_metrics(self, logs, clean, num_scored):
        """Adds a batch's logs to the metrics."""
        for metric in self.metrics:
            if metric.name in logs:
                metric.update_state(logs[metric.name], sample_weight=num_scored)

    def get_config(self):
        """Its arguments, as in a Keras layer."""
        return {"weight": self.initial_weight}

    @classmethod
    def from_config(cls, config):
        """A term with the arguments of a config."""
        return cls(**config)
