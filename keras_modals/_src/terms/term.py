import math
import weakref
from collections import namedtuple
from collections.abc import Callable
from typing import Any, ClassVar

import keras

from keras_modals._src.arguments import BOUNDS, check_bounds
from keras_modals._src.registry import add_class

TermLosses = namedtuple("TermLosses", ["encoder", "own", "logs"], defaults=[None, None])
TermLosses.__doc__ = """A term's losses for one batch, all scalars.

Attributes:
    encoder: The loss that encoder and head minimize, times the term's weight.
    own: The loss for variables that the term trains itself, if it has any. It must
        send no gradient to the encoder, and `encoder` none to these variables.
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
TermStep.__doc__ = """The data of a training step that terms can use.

Attributes:
    clean: The input of the layer nearest to the head, as `Recorded`; `None` if no term
        reads latents.
    outputs: The head's outputs, `(rows, ...)`.
    rows: The `RowMap` of the step.
    inputs: The model's inputs.
    unlabeled: Boolean `(batch,)` or, with a label for each position, `(batch, ...)`,
        `True` for valid samples or positions without a label; `None` if no term learns
        from them.
    mask: Boolean `(batch, ...)`, the valid positions of the samples, if only positions
        valid in both samples are mixed; else `None`.

Example:

>>> class Sure(keras_modals.Term):
...     kind, reads_latents, reads_unlabeled = "sure", False, True
...
...     def losses_of_step(self, step):
...         unlabeled = keras.ops.cast(step.rows.tile(step.unlabeled), "float32")
...         likely = keras.ops.max(step.outputs, axis=-1)
...         return keras_modals.TermLosses(keras.ops.mean(unlabeled * (1 - likely)))
"""

#: Maps the kind of every known term to its class.
TERMS: dict[str, Any] = {}


class Term:
    """Base class of loss terms, which are added to the task's loss.

    A subclass has a `kind` and a method `losses`. Its weight is then an argument of
    `compile`, `<kind>_weight`, and a number that a `PolicySchedule` can change. A term
    with further arguments is passed to `compile` in `terms`; it must return them from
    `get_config`.

    Args:
        weight: Float within the class's `bounds`. At 0 the term is left out.

    Attributes:
        kind: String, the term's name in arguments, schedules, and logs.
        bounds: Pair of a description of valid weights and a function that checks a
            number.
        is_share: Whether the task's weight is 1 minus this weight.
        needs_groups: Whether it reads labels. Defaults to `True`.
        reads_latents: Whether it reads latents. Defaults to `True`.
        reads_unlabeled: Whether it learns from unlabeled samples, which then count
            neither in the task's loss nor in metrics. Defaults to `False`.
        levels: The weights that a one-run search tries; `None` to keep the weight.
        weight: The variable, a float32 scalar.
        optimizer: The optimizer of `own_variables`; `None` if there are none.
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
        """The name of the weight in arguments, schedules, and searches."""
        return f"{cls.kind}_weight"

    def __init__(self, weight=0.0):
        self.initial_weight = check_bounds(self.weight_name(), weight)
        self.weight: Any = None
        self._model: Any = None
        self.metrics: list[Any] = []

    def build(self, num_features):
        """Creates the term's state for latents of `num_features` features.

        Called by `compile`."""
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
        """Prepares the term for a `ModalsModel` that is being compiled."""
        if self._model is not None and self._model() is not model:
            raise ValueError(
                f"The term '{self.kind}' belongs to another model and has its state. "
                "Create a term for each model. "
                f"Received: terms with {self!r}"
            )
        num_features = model.latent_augmentation.num_features
        if num_features is None and self.reads_latents:
            raise ValueError(
                f"The term '{self.kind}' needs latents with known sizes for all axes "
                "but the first, at the `LatentAugmentation` nearest to the head: put "
                "one after the pooling. "
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
        """Computes the `TermLosses` of a batch.

        Args:
            latents: `(batch, features)`, the input of the layer nearest to the head.
            labels: int32 `(batch,)`, the samples' classes, or bins of their targets;
                with several labels at once, rows of 0 and 1, `(batch, num_labels)`. -1
                for unlabeled samples, and for samples mixed or moved by an earlier
                layer.
            sample_weight: Float32 `(batch,)`, 0 for samples mixed or moved by an
                earlier layer, whose latents are not clean, else 1; `None` if there are
                none.
        """
        raise NotImplementedError

    def losses_of_step(self, step):
        """Computes the `TermLosses` of a `TermStep`, by default with `losses`."""
        clean = step.clean
        return self.losses(clean.latents, clean.labels, clean.sample_weight)

    @property
    def waits_for_length(self):
        """Whether its weight stays 0 until the length of the training is known."""
        return False

    def begin_fit(self, num_steps, done):
        """Informs the term of the length of a training.

        Called when `fit` begins, and again after an epoch if the number of steps
        becomes known only then.

        Args:
            num_steps: The total number of optimizer steps; `None` if unknown.
            done: The number of steps already done.
        """

    @property
    def own_variables(self):
        """Variables that the term's optimizer updates."""
        return []

    @property
    def variables(self):
        """All state except that of the optimizer and of metrics."""
        return [self.weight, *self.own_variables]

    @property
    def all_variables(self):
        """All state, including that of the optimizer."""
        slots = [] if self.optimizer is None else self.optimizer.variables
        return [*self.variables, *slots]

    def take_state(self, other):
        """Copies the values of another term's variables."""
        for variable, value in zip(self.variables, other.variables, strict=True):
            variable.assign(value)

    @property
    def seeds(self):
        """The variables that are states of seed generators."""
        return []

    def update_metrics(self, logs, clean, num_scored):
        """Adds a batch's logs to the metrics."""
        for metric in self.metrics:
            if metric.name in logs:
                metric.update_state(logs[metric.name], sample_weight=num_scored)

    def get_config(self):
        """Returns the arguments of the term, as in a Keras layer."""
        return {"weight": self.initial_weight}

    @classmethod
    def from_config(cls, config):
        """Creates a term from its config."""
        return cls(**config)
