import functools
import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals.arguments import check_bounds
from keras_modals.labels import check_label_array
from keras_modals.layers.latent_augmentation import LatentAugmentation
from keras_modals.losses.triplet_selector import TripletSelector
from keras_modals.metrics.gaussian_distance import GaussianDistance
from keras_modals.models.copying import copy_graph
from keras_modals.models.functional_like import functional_like
from keras_modals.models.gaussian_discriminator import GaussianDiscriminator
from keras_modals.models.graph import downstream, find_layers
from keras_modals.models.label_report import LabelReport, fit_arguments
from keras_modals.models.task import (
    check_loss,
    check_output,
    check_stream_of_labels,
)
from keras_modals.training import train_step
from keras_modals.training.losses import LossKinds, may_be_unlabeled
from keras_modals.training.objective import NO_LABELS
from keras_modals.training.outputs import (
    by_output,
    check_outputs,
    label_output,
    losses_of,
    output_names,
    target_names,
)

#: Chosen by measurement: `python -m benchmarks.accuracy report --study tuning`.
DEFAULT_TRIPLET_WEIGHT = 0.0
DEFAULT_PRIOR_WEIGHT = 0.0

TRIPLET_LOGS = ("triplet_loss",)
PRIOR_LOGS = (
    "adversarial_loss",
    "discriminator_loss",
    "discriminator_accuracy",
    "prior_distance",
)


@keras.saving.register_keras_serializable("keras_modals")
class ModalsModel(keras.Model):
    """A Functional model that trains with MODALS around its `LatentAugmentation`.

    In `fit`, the layer's labels are those of the batch; the head learns from augmented
    latents; a triplet loss separates the classes of the clean latents; and a
    discriminator can draw them towards `N(0, I)`. Encoder and head minimize

    `(1 - triplet_weight) * task + triplet_weight * triplet
    + prior_weight * adversarial`

    where `task` is whatever `compile` was given. Everything else is as in
    `keras.Model`: data, callbacks, metrics, `evaluate`, `predict`, `save`. `loss` and
    `val_loss` in the logs are the task's loss, so that they compare with each other
    and with those of a plain model; the other terms have names of their own. Metrics
    see each sample once, as its first view.

    A loss is given what it can take. A row of two mixed labels counts for both, by
    their shares, where the loss weights rows. Where it does not (it returns one number
    for the batch, or a subclass overrides `compute_loss`), float targets like the
    predictions are mixed, and of others one of the two is drawn by their shares. What
    layers after the augmentation add with `add_loss` they compute for all views: a
    mean over rows stays what it is, a sum grows with `num_views`.

    Args:
        inputs: Input tensor, or structure of them, as in `keras.Model`.
        outputs: Output tensor, or structure of them, of a graph that contains one
            `LatentAugmentation`.
        name: Name of the model.
        discriminator: A `GaussianDiscriminator`, `"auto"` (one with its defaults, made
            when `compile` asks for a prior) or `None`. Defaults to `"auto"`.
        label_output: Name of the output whose targets are the class labels. Needed
            with several outputs.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)

    Example:

    >>> inputs = keras.Input((8,))
    >>> latents = keras.layers.Dense(16, "relu")(inputs)
    >>> latents = keras_modals.LatentAugmentation(num_classes=3)(latents)
    >>> outputs = keras.layers.Dense(3, "softmax")(latents)
    >>> model = keras_modals.ModalsModel(inputs, outputs)
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> x, y = np.random.normal(size=(32, 8)), np.arange(32) % 3
    >>> history = model.fit(x, y, verbose=0)
    """

    @functional_like
    def __init__(
        self,
        inputs,
        outputs,
        name=None,
        *,
        discriminator="auto",
        label_output=None,
        **kwargs,
    ):
        super().__init__(inputs, outputs, name=name, **kwargs)
        layers = find_layers(self, LatentAugmentation)
        if len(layers) != 1:
            raise ValueError(
                "The graph of a `ModalsModel` must contain exactly one "
                "`LatentAugmentation` layer. "
                f"Received: {[layer.name for layer in layers]}"
            )
        check_outputs(self)
        names = output_names(self)
        if isinstance(label_output, str) and label_output not in names:
            raise ValueError(
                "Invalid value received for argument `label_output`. Expected one of "
                f"{names}. Received: label_output={label_output!r}"
            )
        if label_output is None and len(names) > 1:
            raise ValueError(
                "A model with several outputs must say whose targets are the class "
                f"labels. Received: label_output=None, outputs={names}"
            )
        name = label_output or names[0]
        shape = by_output(self.output, names)[name].shape
        check_output(name, shape, layers[0].num_classes)
        if isinstance(discriminator, dict):
            discriminator = keras.saving.deserialize_keras_object(discriminator)
        if not (
            discriminator in (None, "auto")
            or isinstance(discriminator, GaussianDiscriminator)
        ):
            raise ValueError(
                "Invalid value received for argument `discriminator`. Expected a "
                '`GaussianDiscriminator`, "auto" or None. '
                f"Received: discriminator={discriminator!r}"
            )
        self.label_output = label_output
        self.makes_discriminator = discriminator == "auto"
        self.discriminator: Any = None
        if isinstance(discriminator, GaussianDiscriminator):
            self._add_discriminator(discriminator)
        self.augmented_outputs = self._find_augmented_outputs(layers[0], names)
        self.label_counts = self.add_weight(
            name="label_counts",
            shape=(4,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            autocast=False,
            aggregation="sum",
        )
        self.has_reported_labels = False
        self.triplet_weight = self._loss_weight("triplet_weight")
        self.prior_weight = self._loss_weight("prior_weight")
        self.uses_triplet = self.uses_prior = False
        self.triplet_loss: Any = None
        self.discriminator_optimizer: Any = None
        self._triplet_seeds = None
        self._loss_trackers = {
            name: GaussianDistance(name)
            if name == "prior_distance"
            else keras.metrics.Mean(name)
            for name in TRIPLET_LOGS + PRIOR_LOGS
        }
        self._loss_trackers["prior_distance"].build(layers[0].num_features)

    @functools.cached_property
    def latent_augmentation(self):
        """The model's `LatentAugmentation` layer."""
        return find_layers(self, LatentAugmentation)[0]

    def _loss_weight(self, name):
        return self.add_weight(
            name=name, shape=(), initializer="zeros", trainable=False, autocast=False
        )

    def _add_discriminator(self, discriminator):
        shape = (self.latent_augmentation.num_features,)
        if not discriminator.built:
            discriminator.build((None, *shape))
        if discriminator.latents_shape != shape:
            raise ValueError(
                f"The discriminator must be built for latents of shape {shape}, all "
                "axes but the first taken together. Received: a discriminator for "
                f"latents of shape {discriminator.latents_shape}"
            )
        self.discriminator = discriminator

    def _find_augmented_outputs(self, layer, names):
        """The outputs whose rows the layer multiplies or mixes."""
        if not layer.changes_rows:
            return []
        if layer not in self.layers:
            raise ValueError(
                f"The layer '{layer.name}' lies in a nested model. There, its outputs "
                "must have one row per sample, with one label. Insert it in the outer "
                "model, or use `num_views=1` and a policy without `class_mixing`. "
                f"Received: num_views={layer.num_views}"
            )
        reached, merging = downstream(self, layer)
        if merging and layer.num_views > 1:
            raise ValueError(
                f"With several views, every input of a layer after '{layer.name}' must "
                "come through it, since it has more rows. Another branch of the graph, "
                f"or a mask, meets it in: {sorted(merging)}. Use `num_views=1`, or "
                "insert the layer after they meet. "
                f"Received: num_views={layer.num_views}"
            )
        ids = [
            id(tensor)
            for tensor, is_reached in zip(self.outputs, reached, strict=True)
            if is_reached
        ]
        outputs = by_output(self.output, names)
        return [name for name in names if id(outputs[name]) in ids]

    # Compile -------------------------------------------------------------

    def compile(
        self,
        *args,
        triplet_loss="triplet_selector",
        triplet_weight=DEFAULT_TRIPLET_WEIGHT,
        prior_weight=DEFAULT_PRIOR_WEIGHT,
        discriminator_optimizer=None,
        **kwargs,
    ):
        """Configures the model for training, as `keras.Model.compile` does.

        Args:
            *args, **kwargs: What `keras.Model.compile` takes: `optimizer`, `loss`,
                `metrics` and so on.
            triplet_loss: A `keras.losses.Loss` of (labels, clean latents), or `None`.
                Defaults to `TripletSelector(0.5, "random", "cosine")`: on directions,
                it suits latents of any scale.
            triplet_weight: Float in `[0, 1)`. At 0, or with no `triplet_loss`, the
                term is not computed. Defaults to `0.0`. Worth tuning: 0.3
                gained on spoken digits and lost on two-class text.
            prior_weight: Non-negative float. At 0 there is no discriminator step.
                Defaults to `0.0`: a prior of the paper's weight of 1 fights the task.
                A prior wants latents near unit scale: of 100 and more it ruins the
                task's loss. Normalize inputs, or the latents, first.
            discriminator_optimizer: The discriminator's optimizer. Defaults to the
                paper's SGD, with a learning rate of 0.01 and momentum 0.9.
        """
        super().compile(*args, **kwargs)
        check_loss(self)
        self.loss_kinds = LossKinds()
        # An override for Keras before 3.3 does not take it.
        takes_training = "training" in inspect.signature(self.compute_loss).parameters
        self.loss_arguments = {"training": True} if takes_training else {}
        self.has_reported_labels = False
        self.triplet_loss = _get_triplet_loss(triplet_loss)
        triplet_weight = check_bounds("triplet_weight", triplet_weight)
        prior_weight = check_bounds("prior_weight", prior_weight)
        self.triplet_weight.assign(triplet_weight)
        self.prior_weight.assign(prior_weight)
        # What is 0 now only for a while must not be left out after loading.
        self._compiled_weights = {
            "triplet_weight": triplet_weight,
            "prior_weight": prior_weight,
        }
        self.uses_triplet = self.triplet_loss is not None and triplet_weight > 0
        self.uses_prior = prior_weight > 0
        # Tracked, so that its state is saved with the model's.
        self._triplet_seeds = getattr(self.triplet_loss, "seed_generator", None)

        self.discriminator_optimizer = None
        if self.uses_prior:
            if self.discriminator is None:
                if not self.makes_discriminator:
                    raise ValueError(
                        "A prior needs a discriminator, and the model was made with "
                        f"`discriminator=None`. Received: prior_weight={prior_weight}"
                    )
                self._add_discriminator(GaussianDiscriminator())
            self.discriminator_optimizer = self._get_discriminator_optimizer(
                discriminator_optimizer
            )

    def _get_discriminator_optimizer(self, optimizer):
        if optimizer is None:
            optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        optimizer = keras.optimizers.get(optimizer)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(optimizer, scaled):
            optimizer = scaled(optimizer)
        optimizer.build(self.discriminator.trainable_variables)
        return optimizer

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            serialize = keras.saving.serialize_keras_object
            config.update(
                triplet_loss=serialize(self.triplet_loss),
                **self._compiled_weights,
                discriminator_optimizer=serialize(self.discriminator_optimizer),
            )
        return config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    # Training ------------------------------------------------------------

    @property
    def variables(self):
        return self._with_discriminator("variables", super().variables)

    @property
    def weights(self):
        return self._with_discriminator("weights", super().weights)

    def _with_discriminator(self, name, variables):
        """Adds those of the discriminator. Keras before 3.15 finds in a Functional
        model no layers but its graph's."""
        known = {id(variable) for variable in variables}
        own = getattr(getattr(self, "discriminator", None), name, [])
        return variables + [v for v in own if id(v) not in known]

    @property
    def trainable_variables(self):
        """Those of encoder and head, which the model's own optimizer updates."""
        return self._without_discriminator(super().trainable_variables)

    @property
    def trainable_weights(self):
        return self._without_discriminator(super().trainable_weights)

    @property
    def discriminator_variables(self):
        """Variables that the discriminator's optimizer updates; none without prior."""
        trains = self.uses_prior and self.trainable
        return self.discriminator.trainable_variables if trains else []

    def _without_discriminator(self, variables):
        if getattr(self, "discriminator", None) is None:
            return variables
        others = {id(variable) for variable in self.discriminator.variables}
        return [variable for variable in variables if id(variable) not in others]

    @property
    def non_trainable_variables(self):
        """Those that the model's own optimizer leaves alone. JAX needs to know of all,
        the discriminator's and its optimizer's included."""
        variables = super().non_trainable_variables
        if not getattr(self, "uses_prior", False):
            return variables
        return (
            variables
            + self.discriminator_variables
            + self.discriminator_optimizer.variables
        )

    #: Whether `tf.distribute` may split a step among replicas.
    trains_on_replicas = True

    def train_step(self, *args):
        return train_step(self, *args)

    def test_step(self, *args):
        result = super().test_step(*args)
        if isinstance(result, tuple):
            # On JAX, with the state.
            return self._task_logs(result[0]), *result[1:]
        return self._task_logs(result)

    def clip_gradients(self, gradients):
        """What the optimizer gets instead of the gradients of the trainable variables:
        here, the same. It clips them itself."""
        return gradients

    def update_logs(self, objective, batch_size):
        """Adds one step's losses and labels to what the logs show."""
        self.label_counts.assign_add(objective.label_counts)
        loss_tracker = next(m for m in self.metrics if m.name == "loss")
        loss_tracker.update_state(objective.task_loss, sample_weight=batch_size)
        for name, value in objective.logs.items():
            self._loss_trackers[name].update_state(value, sample_weight=batch_size)
        if self.uses_prior:
            latents, _, _ = objective.memory
            self._loss_trackers["prior_distance"].update_state(latents)

    @property
    def metrics(self):
        unused: tuple[str, ...] = () if self.uses_triplet else TRIPLET_LOGS
        if not self.uses_prior:
            unused += PRIOR_LOGS
        trackers = [id(self._loss_trackers[name]) for name in unused]
        return [metric for metric in super().metrics if id(metric) not in trackers]

    def _task_logs(self, logs):
        return {
            name: value
            for name, value in logs.items()
            if name not in TRIPLET_LOGS + PRIOR_LOGS
        }

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`. Samples without a class are left alone; if there are
        any, the logs have their share, `ignored_labels`."""
        self._check_labels(x, y)
        arguments = fit_arguments(self, LabelReport(self), x, y, *args, **kwargs)
        return super().fit(**arguments)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._check_labels(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def _check_labels(self, x, y):
        """Refuses arrays of labels that the layer cannot use, or none to an array."""
        if y is None:
            if all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(x)):
                raise ValueError(NO_LABELS)
            if self.compiled:
                check_stream_of_labels(self)
            return
        name, names = label_output(self), target_names(self, y)
        if isinstance(y, (list, tuple)) and len(y) != len(names):
            raise ValueError(
                "Targets must be one array or tensor, such as `np.array(y)`, or a list "
                f"of one for each output of {names}. Received: a list of {len(y)}"
            )
        labels = by_output(y, names).get(name)
        if labels is None:
            raise ValueError(
                f"There are no labels for the output '{name}'. "
                f"Received: targets for {names}"
            )
        check_label_array(
            ops.convert_to_numpy(labels),
            self.latent_augmentation.num_classes,
            may_be_unlabeled(losses_of(self, name)),
        )

    # Saving ---------------------------------------------------------------

    def save_own_variables(self, store):
        """Saves the seeds of all layers, which Keras leaves out, and what a schedule
        may have changed: training goes on after loading as it would have without."""
        for name, variable in self._own_state().items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        for name, variable in self._own_state().items():
            if name in store.keys():  # noqa: SIM118, a store is no mapping
                variable.assign(store[name])

    def _own_state(self):
        names = ("triplet_weight", "prior_weight", "label_counts")
        return {**self._seeds(), **{name: getattr(self, name) for name in names}}

    def reseed(self, seed):
        """Gives every seed generator of the model a new state, which follows from
        `seed`, a non-negative integer: those of dropout, augmentation, mining, prior.
        """
        for index, state in enumerate(self._seeds().values()):
            numbers = np.random.SeedSequence((seed, index)).generate_state(2) >> 1
            state.assign(ops.cast(numbers, state.dtype))

    def _seeds(self):
        owners = {str(index): layer for index, layer in enumerate(self.layers)}
        if self.discriminator is not None:
            owners["discriminator"] = self.discriminator
        seeds = {
            f"seed_{name}_{index}": seed
            for name, layer in owners.items()
            for index, seed in enumerate(seed_states(layer))
        }
        if self._triplet_seeds is not None:
            seeds["seed_triplet_loss"] = self._triplet_seeds.state
        return seeds

    # Leaving keras_modals -------------------------------------------------

    def inference_model(self):
        """The trained model as a plain `keras.Model`, without `LatentAugmentation`.

        Its file loads where keras_modals is not installed. Weights are copied.
        """

        def skip_augmentation(layer, *args, **kwargs):
            if isinstance(layer, LatentAugmentation):
                return args[0]
            return layer(*args, **kwargs)

        if self.latent_augmentation not in self.layers:
            raise ValueError(
                "The `LatentAugmentation` layer lies in a nested model, and cannot be "
                "taken out of it. Insert it in the outer model."
            )
        return copy_graph(self, lambda: skip_augmentation)

    def export(self, filepath, *args, **kwargs):
        """As `keras.Model.export`, without the memory of classes where possible."""
        if self.latent_augmentation not in self.layers:
            return super().export(filepath, *args, **kwargs)
        return self.inference_model().export(filepath, *args, **kwargs)

    def get_config(self):
        config = super().get_config()
        discriminator = self.discriminator
        if discriminator is None:
            discriminator = "auto" if self.makes_discriminator else None
        config.update(
            discriminator=keras.saving.serialize_keras_object(discriminator),
            label_output=self.label_output,
        )
        return config


def seed_states(layer):
    """The states of a layer's seed generators: its variables that are no weights."""
    weights = {id(weight) for weight in layer.weights}
    return [v for v in layer.variables if id(v) not in weights]


def _get_triplet_loss(loss):
    if loss == "triplet_selector":
        return TripletSelector(0.5, "random", "cosine")
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    raise ValueError(
        "Invalid value received for argument `triplet_loss`. Expected a "
        '`keras.losses.Loss` of labels and latents, "triplet_selector" or None. '
        f"Received: triplet_loss={loss!r}"
    )


def shortest_float(variable):
    """A float32 scalar as the shortest decimal for it: 0.1, not 0.10000000149."""
    return float(str(ops.convert_to_numpy(variable)))
