import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals._src.arguments import check_choice, check_integer
from keras_modals._src.layers.step_scope import StepScope, current_scope
from keras_modals._src.models.assignment import assign
from keras_modals._src.models.compiling import compile_alike
from keras_modals._src.models.copying import copy_values, split
from keras_modals._src.models.fit_arguments import add_callbacks, fit_arguments
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.population.explore import pba_explore
from keras_modals._src.population.levels import Levels
from keras_modals._src.population.population import Population
from keras_modals._src.population.results import Step, print_results, schedule_of
from keras_modals._src.population.start import (
    check_arguments,
    check_seed,
    check_validation,
    start_values,
)
from keras_modals._src.search.member_augmentation import MemberAugmentation
from keras_modals._src.search.member_graph import (
    as_modals_model,
    call_heads,
    check_no_mask_past,
    copy_modals_model,
)
from keras_modals._src.search.member_heads import MemberHeads
from keras_modals._src.search.member_optimizer import (
    check_uncoupled,
    clip_members,
    take_limits,
)
from keras_modals._src.search.member_scores import (
    MemberScores,
    loss_measure,
)
from keras_modals._src.search.searched import Searched
from keras_modals._src.search.untracked import Untracked
from keras_modals._src.training.outputs import by_output

ENCODER_GRADIENTS = ("best", "mean", "weighted")


@keras.saving.register_keras_serializable("keras_modals")
class SharedEncoderSearch(ModalsModel):
    """Searches policies in a single training, with many heads on one encoder.

    A policy acts after the encoder. The members of a population can therefore share the
    encoder and its forward and backward pass. Each member has its own policy and its
    own copy of the layers after the `LatentAugmentation`. With an encoder of some size,
    eight members take little more time than one training. After every epoch with
    validation, each member is scored on the clean latents of the validation data. After
    every `epochs_per_generation` of them, the worst members continue from copies of the
    best (exploit) with perturbed policies (explore), as in
    `keras_modals.tuners.PopulationBasedTuner`.

    The search is a `keras.Model` and trains like one: data, callbacks, `save` and so
    on. `predict` and `evaluate` use the best member so far. `val_` logs are those of
    the best member before the epoch; other logs are means over members. Compiling again
    starts a new search from the current weights.

    Each member has its own probabilities and magnitudes for the layer nearest to the
    head, and its own rate of a `LatentDropout` after it. Other layers keep their
    policies, and act on what all members share. The weights of the triplet loss and the
    prior act on the shared encoder. If positive, they are searched over time: changed
    for a generation, and reverted unless the best score falls by at least as much as in
    the generation before.

    Args:
        model: A `ModalsModel`, which is not changed, or a model for
            `keras_modals.augment`. The latter is augmented with default arguments, plus
            the paper's operations at 0 at the last place and a `LatentDropout` of rate
            0 after it. Call `augment` yourself for other arguments. If the model is
            compiled, so is the search. During its `warmup_steps`, scores say little
            about the policies.
        population_size: Positive integer. Defaults to `8`.
        epochs_per_generation: Positive integer. Defaults to `3`.
        objective: `"val_loss"` or `"val_accuracy"` of the output with the class labels,
            used to score members. Defaults to `"val_loss"`.
        smoothing: Float in `[0, 1)`, the weight of earlier epochs in a member's score,
            since validation sets are small and noisy. Defaults to `0.5`.
        quantile: Float in `(0, 0.5]`, the size of the worst and of the best part of the
            population. Defaults to `0.25`.
        explore: `fn(levels, value, rng)` that returns a new value, one of
            `levels.values`. Defaults to Population Based Augmentation's rule,
            `keras_modals.population.pba_explore`.
        initial: `"policy"`: every member starts with the layer's policy; `"zero"`: no
            member augments there at first; `"random"`: the first member does not
            augment there, and all others start with random values. Defaults to
            `"policy"`.
        encoder_gradient: The gradient that trains the encoder: that of the `"best"`
            member, the `"mean"` of all, or a mean `"weighted"` by scores, where a
            member that is a standard deviation worse than another has `1 / e` of its
            weight. Defaults to `"mean"`.
        vectorized: Boolean, whether to compute all heads at once if they consist of
            dense layers, dropout, normalization, and activations. Defaults to `True`.
        seed: Optional non-negative integer, for exploit and explore. Defaults to
            `None`, a random seed.
        name: Name of the model.

    Reference:

    - [Jaderberg et al., 2017](https://arxiv.org/abs/1711.09846)
    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(16, "relu"),
    ...     keras.layers.Dense(3, "softmax"),
    ... ])
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> x, y = np.random.normal(size=(64, 8)), np.arange(64) % 3
    >>> search = keras_modals.SharedEncoderSearch(model, population_size=4, seed=0)
    >>> history = search.fit(
    ...     x[:48], y[:48], validation_data=(x[48:], y[48:]), epochs=6, verbose=0
    ... )
    >>> best = search.best_model()
    >>> best.predict(x, verbose=0).shape
    (64, 3)
    >>> search.best_schedule().epochs
    6
    """

    trains_on_replicas = False

    def __init__(
        self,
        model,
        population_size=8,
        epochs_per_generation=3,
        *,
        objective="val_loss",
        smoothing=0.5,
        quantile=0.25,
        explore=pba_explore,
        initial="policy",
        encoder_gradient="mean",
        vectorized=True,
        seed=None,
        name=None,
    ):
        check_arguments(population_size, smoothing, quantile, initial)
        check_integer("epochs_per_generation", epochs_per_generation, 1)
        check_choice("objective", objective, ("val_loss", "val_accuracy"))
        check_choice("encoder_gradient", encoder_gradient, ENCODER_GRADIENTS)
        seed = check_seed(seed)
        template = as_modals_model(model)
        layer = template.latent_augmentation
        if layer.labels.per_position:
            raise ValueError(
                "`SharedEncoderSearch` scores whole samples and does not support a "
                "label for each position: search with `PopulationBasedTuner`. "
                f"Received: labels={layer.labels}"
            )
        tensors, head = split(template, layer)
        check_no_mask_past(template)
        measured = [metric.name for part in head.layers for metric in part.metrics]
        if measured:
            warnings.warn(
                "A search does not log metrics of layers after the augmentation, "
                "since each member has its own copies: pass them to `compile`. "
                f"Received: metrics {measured}",
                stacklevel=2,
            )
        members = MemberAugmentation(population_size, **layer.get_config())
        heads = MemberHeads(head, population_size, vectorized=vectorized)
        outputs, label_position = call_heads(
            template, heads, [members(tensors[0]), *tensors[1:]]
        )
        super().__init__(
            template.input,
            outputs,
            name=name or template.name,
            label_output=template.label_output,
            num_views=template.num_views,
            clean_view=template.clean_view,
            warmup_steps=template.warmup_steps,
        )
        self.preprocessor = template.preprocessor
        self._template = Untracked(template)
        self.heads = heads
        self._label_position = label_position
        self.population_size = population_size
        self.epochs_per_generation = epochs_per_generation
        self.objective = objective
        self.smoothing = smoothing
        self.quantile = quantile
        self.explore = explore
        self.initial = initial
        self.encoder_gradient = encoder_gradient
        self.seed = seed
        #: A weight, so that callbacks that restore weights also restore it.
        self.epochs_searched = self.add_weight(
            name="epochs_searched",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
        )
        self.member_scores = MemberScores(population_size)
        self._searched = Searched(layer, heads)
        self._population: Any = None
        self._limits: dict[str, float] = {}
        if members.memory is not None:
            copy_values(members.memory.variables, layer.memory.variables)
        compiled = model if isinstance(model, ModalsModel) else template
        if compiled.compiled:
            check_uncoupled(compiled.optimizer)
            compile_alike(self, compiled)

    # Compile ---------------------------------------------------------------

    def compile(self, optimizer="rmsprop", *args, **kwargs):
        """Configures the search for training, as `ModalsModel.compile` does.

        Optimizers that compute with whole variables, such as Lamb, are not supported,
        since all members share one variable. Limits of gradient norms are removed from
        the optimizer and applied to each member separately."""
        optimizer = keras.optimizers.get(optimizer)
        self._limits = take_limits(optimizer)
        super().compile(optimizer, *args, **kwargs)
        if self.reads_unlabeled:
            raise ValueError(
                "The heads of `SharedEncoderSearch` learn from labels alone: search "
                "with `PopulationBasedTuner`, or without `consistency_weight`. "
                f"Received: terms={self.terms}"
            )
        if self.objective == "val_loss":
            name = self.output_map.label
            losses = self.output_map.losses[name]
            if not losses:
                raise ValueError(
                    "Members are scored by the loss of the output with the class "
                    "labels, but it has no loss: compile it with one, or use "
                    '`objective="val_accuracy"`. '
                    f"Received: loss={kwargs.get('loss')!r}"
                )
            output = by_output(self.output, self.output_map.names)[name]
            self.member_scores.measure = loss_measure(losses, output)
        else:
            self.member_scores.measure = self.latent_augmentation.labels.errors
        self._start_population()

    def _start_population(self):
        rng = np.random.default_rng((self.seed, 0))
        levels = self._searched.levels
        shared = [term for term in self.terms if term.levels is not None]
        self._population = Population(
            levels,
            start_values(
                self.population_size,
                self.initial,
                self._searched.start(self.initial),
                lambda: [each.at(rng.random()) for each in levels],
            ),
            [Levels(term.weight_name(), term.levels) for term in shared],
            [term.initial_weight for term in shared],
            epochs_per_generation=self.epochs_per_generation,
            quantile=self.quantile,
            explore=self.explore,
            smoothing=self.smoothing,
            seed=self.seed,
        )
        self.epochs_searched.assign(0)
        self._assign_values()

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            optimizer = config["optimizer"]["config"]
            optimizer.get("inner_optimizer", {"config": optimizer})["config"].update(
                self._limits
            )
        return config

    @property
    def population(self):
        """The members' `keras_modals._src.population.Population`.

        Its `records` hold the values, scores, and parents of every epoch."""
        if self._population is None:
            raise ValueError("The search must be compiled before it is used.")
        epochs = int(ops.convert_to_numpy(self.epochs_searched))
        if epochs < len(self._population.records):
            # A callback has restored the weights of an earlier epoch.
            scores = [record["scores"] for record in self._population.records]
            self._population.replay(scores[:epochs])
        return self._population

    # Training --------------------------------------------------------------

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains and searches, as `keras.Model.fit` does. Requires validation data."""
        arguments = fit_arguments(self, x, y, *args, **kwargs)
        add_callbacks(arguments, _EndEpoch(self))
        check_validation(arguments)
        return super().fit(**arguments)

    def clip_gradients(self, gradients):
        if not self._limits:
            return gradients
        members = {id(variable) for variable in self.heads.weights}
        limits = {k: self.optimizer.scale_loss(v) for k, v in self._limits.items()}
        return clip_members(
            gradients, [id(v) in members for v in self.trainable_variables], **limits
        )

    def test_step(self, *args):
        with StepScope(None):
            return super().test_step(*args)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        scope = current_scope()
        if scope is not None and scope.member_outputs is not None:
            self.member_scores.update_state(
                self._of_labels(y),
                keras.tree.flatten(scope.member_outputs)[self._label_position],
                self._of_labels(sample_weight),
            )
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self):
        logs = super().get_metrics_result()
        return {k: v for k, v in logs.items() if k != self.member_scores.name}

    def end_epoch(self):
        """Applies exploit and explore after `evaluate` has scored members."""
        population = self.population
        if not ops.convert_to_numpy(self.member_scores.count):
            raise ValueError("Members have no scores before `evaluate` has run.")
        scores = ops.convert_to_numpy(self.member_scores.result())
        parents = population.end_epoch(scores)
        if parents != list(range(self.population_size)):
            for variable in self._member_variables():
                variable.assign(ops.take(variable, np.array(parents), axis=0))
        self.epochs_searched.assign(len(population.records))
        self._assign_values()

    def _member_variables(self):
        """The heads' variables and the optimizer's slots for them."""
        weights = self.heads.member_variables
        paths = [f"{v.path.replace('/', '_')}_" for v in weights]
        return weights + [
            variable
            for variable in self.optimizer.variables
            if any(variable.name.startswith(path) for path in paths)
        ]

    def _assign_values(self):
        population = self.population
        shares = _shares(self.encoder_gradient, population.smoothed)
        self.latent_augmentation.encoder_shares.assign(shares)
        self._searched.assign(population.values, self.latent_augmentation)
        for name, value in population.named(population.shared).items():
            self.term_weights[name].assign(value)

    def _of_labels(self, structure):
        return self.output_map.targets(structure)[self.output_map.label]

    # Results ---------------------------------------------------------------

    def best_model(self):
        """Returns the encoder with the best member's head, as a compiled `ModalsModel`.

        It is ready for `predict`, `save`, and further training, without a warm-up and
        with a fresh optimizer.
        """
        model = copy_modals_model(self._template.value, warmup_steps=0)
        model.preprocessor = self.preprocessor
        for target, value in self.heads.member_weights(0, model):
            target.assign(value)
        layer, members = model.latent_augmentation, self.latent_augmentation
        if layer.memory is not None:
            copy_values(layer.memory.variables, members.memory.variables)
        if self.compiled:
            compile_alike(model, self)
        values = self.population.values[0]
        shared = self.population.named(self.population.shared) if model.compiled else {}
        others = {**self._searched.others(values), **shared}
        assign(model, self._policies(values), others)
        return model

    def best_schedule(self):
        """Returns the `PolicySchedule` along the lineage of the best member."""
        return schedule_of(self._steps())

    def results_summary(self):
        """Prints, per generation, members' scores and the best member's lineage."""
        steps, epochs = self._steps(), self.epochs_per_generation
        ends = range(epochs, len(steps) + epochs, epochs)
        print_results(
            self.objective,
            "max" if self.objective == "val_accuracy" else "min",
            [steps[min(end, len(steps)) - 1] for end in ends],
        )

    def _policies(self, values):
        """A member's policy; with several layers, the policies of all, its own last."""
        *others, _ = self._template.value.policies
        policy = self._searched.policy(values)
        return (*others, policy) if others else policy

    def _steps(self):
        """One `Step` for each epoch."""
        steps = []
        for member, record in self.population.lineage():
            scores, values = record["smoothed"], record["values"][member]
            if self.objective == "val_accuracy":
                scores = 1.0 - scores
            shared = self.population.named(record["shared"])
            others = {**self._searched.others(values), **shared}
            policy = self._policies(values)
            steps.append(Step(1, policy, others, scores[member], scores))
        if not steps:
            raise ValueError("There are no results before the first epoch of `fit`.")
        return steps

    def reseed(self, seed):
        super().reseed(seed)
        self.heads.reseed(seed)

    def inference_model(self):
        return self.best_model().inference_model()

    # Saving ----------------------------------------------------------------

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.compiled and self.population.records:
            records = self.population.records
            store["scores"] = np.stack([record["scores"] for record in records])

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if "scores" in store.keys():  # noqa: SIM118, a store is no mapping
            scores = np.asarray(store["scores"])
            self._population.replay(scores)
            self.epochs_searched.assign(len(scores))
            self._assign_values()

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(self._template.value),
            "population_size": self.population_size,
            "epochs_per_generation": self.epochs_per_generation,
            "objective": self.objective,
            "smoothing": self.smoothing,
            "quantile": self.quantile,
            "explore": keras.saving.serialize_keras_object(self.explore),
            "initial": self.initial,
            "encoder_gradient": self.encoder_gradient,
            "vectorized": self.heads.vectorized,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("model", "explore"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects
            )
        return cls(**config)


class _EndEpoch(keras.callbacks.Callback):
    def __init__(self, search):
        super().__init__()
        self._search = search

    def on_epoch_end(self, epoch, logs=None):
        # With `validation_freq`, some epochs have no scores.
        if any(name.startswith("val_") for name in logs or {}):
            self._search.end_epoch()


def _shares(kind, scores):
    """Members' weights in the encoder's gradient. The best member is the first."""
    shares = np.ones(len(scores))
    deviation = np.std(scores)
    if kind == "best":
        shares[1:] = 0.0
    elif kind == "weighted" and np.isfinite(deviation) and deviation > 0:
        shares = np.exp((np.min(scores) - scores) / deviation)
    return shares / shares.sum()
