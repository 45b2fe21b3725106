import inspect

import keras
import numpy as np
from keras import ops

from keras_modals._src.arguments import check_boolean, check_bounds, check_integer
from keras_modals._src.data.joined import JoinedData
from keras_modals._src.data.preprocessed import as_arrays
from keras_modals._src.labels import IGNORED, Classes
from keras_modals._src.layers.latent_augmentation import LatentAugmentation
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.layers.step_scope import StepScope
from keras_modals._src.models.arrangement import arrange, summary_lines
from keras_modals._src.models.fit_arguments import add_callbacks, fit_arguments
from keras_modals._src.models.fit_progress import FitProgress
from keras_modals._src.models.fresh_statistics import FreshStatistics
from keras_modals._src.models.functional_like import functional_like
from keras_modals._src.models.graph import find_layers
from keras_modals._src.models.inference import nested_augmentations, plain_model
from keras_modals._src.models.label_report import LabelReport
from keras_modals._src.models.preprocessing_model import PreprocessingModel
from keras_modals._src.models.task import task_of
from keras_modals._src.policies.policy import Policy
from keras_modals._src.rows import RowMap
from keras_modals._src.terms.term import TERMS, Term
from keras_modals._src.training import train_step
from keras_modals._src.training.losses import (
    LossKinds,
    check_leaves_out,
    gives_logits,
    ignored_classes,
    may_be_unlabeled,
)
from keras_modals._src.training.objective import NO_LABELS
from keras_modals._src.training.outputs import (
    Outputs,
    by_output,
    check_metrics,
    check_outputs,
    output_names,
)


@keras.saving.register_keras_serializable("keras_modals")
class ModalsModel(PreprocessingModel):
    """A Functional model that trains with `LatentAugmentation` layers.

    In `fit`, the layers use the labels of the batch, and the head learns from augmented
    latents. Optional loss terms act on clean latents at the layer nearest to the head:
    triplets separate the classes, and a prior draws latents toward `N(0, I)`. A
    consistency term acts on the outputs for unlabeled samples. Encoder and head
    minimize

    `(1 - triplet_weight) * task + triplet_weight * triplet
    + prior_weight * adversarial + consistency_weight * consistency`

    where `task` is the loss passed to `compile`. Everything else works as in
    `keras.Model`: data, callbacks, metrics, `evaluate`, `predict`, `save`. `loss` and
    `val_loss` in the logs are the task's loss, so they are comparable with each other
    and with those of a plain model. Terms are logged under their own names. Metrics see
    each sample once, as its first view.

    The loss determines how a mixed row counts. If the loss weights rows, both labels
    count, weighted by their shares. Otherwise (if it returns one number for the batch,
    or a subclass overrides `compute_loss`), the two targets are mixed if they are
    floats with the rank of the predictions; if not, one of the two is drawn with their
    shares as probabilities. Losses added with `add_loss` by layers after the
    augmentation cover all views: a mean over rows keeps its scale, a sum grows with
    `num_views`.

    If `preprocessor` is not `None`, it is applied to the data passed to `fit`,
    `evaluate`, and `predict`, as in KerasHub. Arrays keep their order unless `fit` is
    called with `shuffle=True`. The preprocessor is a layer, or another callable, that
    takes a batch `(x, y=..., sample_weight=...)` and returns it packed, or takes `x`
    alone. It can be assigned. `augment` copies that of a KerasHub task.

    Args:
        inputs: Input tensor, or structure of tensors, as in `keras.Model`.
        outputs: Output tensor, or structure of tensors, of a graph that contains one or
            more `LatentAugmentation` layers. Each step draws one of the layers that
            mix. In parallel branches it draws one per branch, so that all of a sample
            is mixed.
        name: Name of the model.
        num_views: Integer, the number of latents per sample that the head sees during
            training. Labels and weights are repeated to match. The cost of all layers
            after the first place grows by this factor; with several places this
            includes part of the encoder. Defaults to `1`.
        clean_view: Boolean, whether the first of several views is the unmodified
            latent. Defaults to `None`: `True` if there are several views.
        warmup_steps: Integer, the number of initial optimizer steps over which the
            probabilities of all operations grow from 0 to those of the policy. The
            steps are counted by the optimizer that the model is compiled with.
            Defaults to `0`.
        label_output: Name of the output whose targets are the class labels. Required
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
        num_views=1,
        clean_view=None,
        warmup_steps=0,
        label_output=None,
        **kwargs,
    ):
        super().__init__(inputs, outputs, name=name, **kwargs)
        check_outputs(self)
        names = output_names(self)
        if label_output not in (None, *names):
            raise ValueError(
                "Invalid value received for argument `label_output`. Expected one of "
                f"{names}. Received: label_output={label_output!r}"
            )
        if label_output is None and len(names) > 1:
            raise ValueError(
                "A model with several outputs needs `label_output`, the name of the "
                "output whose targets are the class labels. "
                f"Received: label_output=None, outputs={names}"
            )
        name = label_output or names[0]
        shape = by_output(self.output, names)[name].shape
        self.num_views = check_integer("num_views", num_views, 1)
        if clean_view is None:
            clean_view = self.num_views > 1
        self.clean_view = check_boolean("clean_view", clean_view)
        if self.clean_view and self.num_views == 1:
            raise ValueError(
                "A clean view needs at least 2 views, or nothing is augmented. "
                f"Received: clean_view={clean_view}, num_views={num_views}"
            )
        self._warmup_steps = check_integer("warmup_steps", warmup_steps, 0)
        self.label_output = label_output
        #: Pairs of a place and the reason for it, if `augment` found the places.
        self.found_places: list = []
        self._arrangement = self._arrange()
        self.latent_augmentation.labels.check_output(name, shape)
        self._has_positions = len(shape) > 2
        #: The model's `Outputs`.
        self.output_map = Outputs(names, name, self._augmented_outputs(names))
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
        self.ignored_labels = self._may_be_unlabeled = ()
        #: The `Term`s that the model was compiled with. Keras does not track them: a
        #: model's weights are those of encoder and head.
        self.terms = []

    def _arrange(self):
        if not find_layers(self, LatentAugmentation):
            raise ValueError(
                "The graph of a `ModalsModel` must contain a `LatentAugmentation` "
                "layer. Put one between encoder and head, or call `augment(model)`."
            )
        arrangement = arrange(self, self.num_views)
        one_of_all = {
            "labels": {layer.labels for layer in arrangement.layers},
            "partners": {leader.partners for leader in arrangement.leaders},
        }
        for argument, values in one_of_all.items():
            if len(values) > 1:
                raise ValueError(
                    "All `LatentAugmentation` layers of a model share the labels and "
                    f"the partners of samples. Give all one `{argument}`. "
                    f"Received: {sorted(values, key=str)}"
                )
        idle = [
            each.name
            for each in arrangement.layers
            if each.keeps_labels
            and not each.trains_encoder(self.clean_view)
            and each.name not in arrangement.with_head
        ]
        if idle:
            raise ValueError(
                "Operations that keep labels train the layers after them here, and "
                "none of these has weights. Insert the layer earlier, or pass "
                f"`gradient_to_encoder=True`. Received: {idle}"
            )
        moving = [each.name for each in arrangement.layers if each.keeps_labels]
        if self.clean_view and len(moving) > 1:
            raise ValueError(
                "With a clean view, only one layer may have operations that keep "
                "labels, since these train only the head: use `num_views=1`. "
                f"Received: {moving}"
            )
        return arrangement

    @property
    def latent_augmentations(self):
        """List of the model's `LatentAugmentation` layers, in topological order."""
        return list(self._arrangement.layers)

    @property
    def latent_augmentation(self):
        """The `LatentAugmentation` layer nearest to the head."""
        return self._arrangement.layers[-1]

    @property
    def policies(self):
        """List of the current policies, one for each of `latent_augmentations`.

        A list of policies can be assigned, or a single policy. A single policy goes to
        the layer nearest to the head; other layers get those of its operations that
        they have. Nothing is retraced.
        """
        return [layer.policy for layer in self.latent_augmentations]

    @policies.setter
    def policies(self, policies):
        layers = self.latent_augmentations
        if isinstance(policies, Policy):
            part = policies.mixing_part()
            *others, _ = layers
            own = [part if each.has_form_of(part) else policies for each in others]
            policies = [*own, policies]
        if len(policies) != len(layers):
            raise ValueError(
                "Expected one policy, or a list of one for each `LatentAugmentation`. "
                f"Received: {len(policies)} policies for {len(layers)} layers"
            )
        for layer, policy in zip(layers, policies, strict=True):
            layer.policy = policy

    @property
    def warmup_steps(self):
        """The number of optimizer steps over which probabilities grow from 0."""
        return self._warmup_steps

    def places_summary(self):
        """Prints the places where the model augments."""
        for line in summary_lines(self._arrangement, self.found_places):
            print(line)

    @property
    def remembering(self):
        """List of the layers that have a class memory."""
        return [each for each in self._arrangement.layers if each.memory is not None]

    @property
    def mixes_classes(self):
        """Whether a layer moves labels."""
        return bool(self._arrangement.leaders)

    def read_labels(self, targets):
        """Reads a batch's targets, as in `Labels.read`."""
        needs_groups = any(
            each.needs_groups for each in (*self._arrangement.layers, *self.terms)
        )
        layer, unlabeled = self.latent_augmentation, None
        if self.reads_unlabeled:
            unlabeled = layer.labels.lacks_label(targets)
        return layer.read(targets, self.ignored_labels, needs_groups, unlabeled)

    @property
    def reads_unlabeled(self):
        """Whether a term learns from unlabeled samples."""
        return any(term.reads_unlabeled for term in self.terms)

    @property
    def has_uncounted(self):
        """Whether the loss counts samples with the label -1, which are not augmented.

        Arrays of such labels are refused."""
        labels = self.latent_augmentation.labels
        known = self._may_be_unlabeled or self.reads_unlabeled
        is_plain = isinstance(labels, Classes) and labels.ignore_class is None
        return is_plain and not known

    @property
    def has_unused(self):
        """Whether samples with the label -1, ignored by the loss, are unused."""
        per_position = self.latent_augmentation.labels.per_position
        of_samples = self.ignored_labels == (IGNORED,) and not per_position
        return of_samples and not self.reads_unlabeled

    def outputs_with(self, weights, inputs):
        """The label output at inference, with other trainable weights."""
        others = [variable.value for variable in self.non_trainable_variables]
        outputs, _ = self.stateless_call(weights, others, inputs, training=False)
        return by_output(outputs, self.output_map.names)[self.output_map.label]

    def sample_losses(self, targets, outputs):
        """The loss of the label output for each row, float32 `(rows,)`, or each
        position.

        `None` for losses without values per row."""
        (loss, *_), labels = self.label_losses, self.latent_augmentation.labels
        targets = ops.convert_to_tensor(targets)
        per_position = labels.per_position
        return self.loss_kinds.sample_losses(loss, targets, outputs, per_position)

    @property
    def label_losses(self):
        """List of the losses of the label output."""
        return self.output_map.losses[self.output_map.label]

    def step_scope(self, labels):
        """The `StepScope` of a training step, with all random draws for the layers.

        Args:
            labels: The `BatchLabels` of the batch.
        """
        members = self.latent_augmentation.members
        samples = ops.shape(labels.samples)[0]
        rows = RowMap(samples, self.num_views, self.clean_view, members)
        mixing, leaders, strength = None, self._arrangement.leaders, self._strength()
        if leaders:
            seed = self.latent_augmentation.seed_generator
            mixing = StepMixing(leaders, labels, rows, seed, strength)
            rows = rows.mixed(mixing.partner, mixing.share)
        places, has_positions = self._arrangement.places, self._has_positions
        return StepScope(labels, rows, mixing, places, strength, has_positions)

    def _strength(self):
        """The factor for probabilities in this step, a float32 scalar; `None` for 1."""
        if not self.warmup_steps:
            return None
        steps = ops.cast(self.optimizer.iterations, "float32")
        return ops.minimum(steps / self.warmup_steps, 1.0)

    def _augmented_outputs(self, names):
        """Names of the outputs whose rows the step multiplies or mixes."""
        members = self.latent_augmentation.members
        if self.num_views * members == 1 and not self.mixes_classes:
            return []
        reached = zip(self.outputs, self._arrangement.reached, strict=True)
        ids = [id(tensor) for tensor, is_reached in reached if is_reached]
        outputs = by_output(self.output, names)
        return [name for name in names if id(outputs[name]) in ids]

    # Compile -------------------------------------------------------------

    def compile(self, *args, terms=(), **kwargs):
        """Configures the model for training, as `keras.Model.compile` does.

        Args:
            *args, **kwargs: Arguments of `keras.Model.compile`: `optimizer`, `loss`,
                `metrics` and so on. Also the weights of terms, `<kind>_weight`:
                `triplet_weight`, a float in `[0, 1)`, and `prior_weight` and
                `consistency_weight`, non-negative floats, as in
                `keras_modals.Triplets`, `keras_modals.Prior` and
                `keras_modals.Consistency`. At 0, the default, a term is not computed.
            terms: List of `keras_modals.Term`, for terms with further arguments.
        """
        weights = {
            kind: kwargs.pop(cls.weight_name())
            for kind, cls in TERMS.items()
            if cls.weight_name() in kwargs
        }
        terms = self._all_terms(terms, weights)
        super().compile(*args, **kwargs)
        self.output_map.compile(self.loss, self.output)
        labels = self.latent_augmentation.labels
        if any(term.reads_unlabeled for term in terms):
            bound = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs)
            output = by_output(self.output, self.output_map.names)
            check_metrics(
                bound.arguments.get("metrics"),
                self.output_map,
                output[self.output_map.label].shape,
            )
        task = task_of(self, self.output_map.label, self.loss)
        labels.check_task(task)
        losses = self.label_losses
        #: Whether the label output is logits; `None` if unknown.
        self.gives_logits = gives_logits(task, losses)
        # The labels that the loss ignores, and the labels that it may ignore.
        self.ignored_labels = ignored_classes(losses)
        self._may_be_unlabeled = may_be_unlabeled(losses)
        label = self.output_map.label
        self.loss_kinds = LossKinds([label] if labels.mixes_targets else ())
        # An override written for Keras before 3.3 does not accept it.
        takes_training = "training" in inspect.signature(self.compute_loss).parameters
        self.loss_arguments = {"training": True} if takes_training else {}
        self.has_reported_labels = False
        for term in terms:
            term.prepare(self)
        self.terms = terms

    def _all_terms(self, terms, weights):
        """The given terms, and one for each positive weight."""
        terms = list(terms) if isinstance(terms, (list, tuple)) else [terms]
        if not all(isinstance(term, Term) for term in terms):
            raise ValueError(
                "Invalid value received for argument `terms`. Expected a list of "
                f"`keras_modals.Term`. Received: terms={terms}"
            )
        kinds = [term.kind for term in terms]
        for kind, weight in weights.items():
            weight = check_bounds(TERMS[kind].weight_name(), weight)
            if not weight:
                continue
            kinds.append(kind)
            # A term that was compiled before keeps its variables.
            known = [term for term in self.terms if term.kind == kind]
            term = known[0] if known else TERMS[kind]()
            term.initial_weight = weight
            terms.append(term)
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                "A model can have only one term of each kind. Pass either its weight "
                f"or the term itself. Received: {kinds}"
            )
        order = list(TERMS)
        terms.sort(key=lambda term: (not term.is_share, order.index(term.kind)))
        return [term for term in terms if term.initial_weight]

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            config["terms"] = keras.saving.serialize_keras_object(list(self.terms))
        return config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    # Training ------------------------------------------------------------

    @property
    def training_terms(self):
        """The terms that train variables of their own."""
        return [term for term in self.terms if term.optimizer is not None]

    @property
    def term_weights(self):
        """Dict from the names of the terms' weights to their variables."""
        return {term.weight_name(): term.weight for term in self.terms}

    @property
    def optimizers(self):
        """The model's optimizer and those of its terms."""
        return [self.optimizer, *(term.optimizer for term in self.training_terms)]

    @property
    def _term_variables(self):
        terms = getattr(self, "terms", ())
        return [variable for term in terms for variable in term.all_variables]

    @property
    def variables(self):
        """All state, including that of terms, except optimizer and metrics."""
        return [*super().variables, *self._term_variables]

    @property
    def trainable_variables(self):
        """The variables of encoder and head, which the model's optimizer updates."""
        others = {id(variable) for variable in self._term_variables}
        return [v for v in super().trainable_variables if id(v) not in others]

    @property
    def non_trainable_variables(self):
        """The variables that the model's optimizer does not update.

        They include the terms' variables and optimizers, which JAX needs to know."""
        others = {id(variable) for variable in self.trainable_variables}
        return [v for v in self.variables if id(v) not in others]

    #: Whether `tf.distribute` may split a step among replicas.
    trains_on_replicas = True

    def train_step(self, *args):
        return train_step(self, *args)

    def test_step(self, *args):
        result = super().test_step(*args)
        if isinstance(result, tuple):
            # On JAX, the result includes the state.
            return self._task_logs(result[0]), *result[1:]
        return self._task_logs(result)

    def clip_gradients(self, gradients):
        """Hook that returns the gradients to pass to the optimizer.

        Unchanged here, since the optimizer clips them itself."""
        return gradients

    def update_logs(self, objective):
        """Adds one step's losses and label counts to the logs."""
        num_scored = objective.num_scored
        self.label_counts.assign_add(objective.label_counts)
        loss_tracker = next(m for m in self.metrics if m.name == "loss")
        loss_tracker.update_state(objective.task_loss, sample_weight=num_scored)
        for term, logs in zip(self.terms, objective.logs, strict=True):
            term.update_metrics(logs, objective.clean, num_scored)

    @property
    def metrics(self):
        return super().metrics + self._term_metrics

    @property
    def _term_metrics(self):
        terms = getattr(self, "terms", ())
        return [metric for term in terms for metric in term.metrics]

    def _task_logs(self, logs):
        names = [metric.name for metric in self._term_metrics]
        return {name: value for name, value in logs.items() if name not in names}

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains the model, as `keras.Model.fit` does.

        Samples without a class are not augmented. If there are any, the logs contain
        their share as `ignored_labels`.

        Moving averages of `keras.layers.BatchNormalization` lag behind weights that
        augmentation changes to the end. If a policy moves samples, they are replaced
        after each epoch, before validation, by means over ten batches of clean training
        samples, which are read when training begins. If samples cannot be read twice,
        as from a generator, a warning is issued instead.
        """
        self._check_labels(x, y)
        if isinstance(x, JoinedData) and not self.reads_unlabeled:
            raise ValueError(
                "Nothing learns from the unlabeled samples. Compile with "
                "`consistency_weight`, or fit on labeled samples only. "
                f"Received: x={x!r}"
            )
        arguments = fit_arguments(self, x, y, *args, **kwargs)
        statistics = FreshStatistics(self, arguments)
        own = LabelReport(self), FitProgress(self, x)
        add_callbacks(arguments, *own, swapped=[statistics])
        validation = arguments.get("validation_data")
        if isinstance(validation, JoinedData):
            self._check_evaluated(validation)
        if self.preprocessor is not None and isinstance(validation, (tuple, list)):
            # Keras will evaluate on a stream made from it.
            x, y, _ = keras.utils.unpack_x_y_sample_weight(validation)
            self._check_evaluated(x, y)
        history = super().fit(**arguments)
        if statistics.weights_are_averaged:
            # Keras has replaced the weights by their averages.
            statistics.replace()
        return history

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Evaluates the model, as `keras.Model.evaluate` does.

        All samples must have labels."""
        self._check_evaluated(x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def _check_evaluated(self, x, y=None):
        """Raises if samples to evaluate are known to lack labels."""
        lacking = isinstance(x, JoinedData)
        if self.reads_unlabeled and y is not None:
            y = self._given_labels(y)
            targets = self.output_map.target_names(y)
            targets = self.output_map.labels(by_output(y, targets))
            lacking = self.latent_augmentation.labels.lacks_label(targets)
            lacking = ops.convert_to_numpy(lacking).any()
        if lacking:
            raise ValueError(
                "Samples and positions to evaluate must have labels. Remove unlabeled "
                "ones, also from `validation_data`. Received: targets with missing "
                "labels"
            )

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._check_labels(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def _check_labels(self, x, y):
        """Raises if labels are missing, or if the layer cannot use them."""
        y = self._given_labels(y)
        if y is None:
            is_array = all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(x))
            # A preprocessor may create labels.
            if is_array and self.preprocessor is None:
                raise ValueError(NO_LABELS)
            if self.compiled:
                labels = self.latent_augmentation.labels
                labels.check_stream(task_of(self, self.output_map.label, self.loss))
            return
        names = self.output_map.target_names(y)
        if isinstance(y, (list, tuple)) and len(y) != len(names):
            raise ValueError(
                "Targets must be one array or tensor, such as `np.array(y)`, or a list "
                f"with one for each output of {names}. Received: a list of {len(y)}"
            )
        targets = self.output_map.targets(y)
        targets = ops.convert_to_numpy(self.output_map.labels(targets))
        labels = self.latent_augmentation.labels
        if self.reads_unlabeled:
            output = by_output(self.output, self.output_map.names)
            check_leaves_out(self, targets, output[self.output_map.label])
            targets = labels.labeled(targets)
        labels.check(targets, self._may_be_unlabeled)

    def _given_labels(self, y):
        """Converts targets to arrays if there is a preprocessor."""
        return y if self.preprocessor is None else as_arrays(y)

    # Saving ---------------------------------------------------------------

    def save_own_variables(self, store):
        """Saves all layers' seeds, which Keras omits, and scheduled values.

        Training after loading then continues exactly as without saving."""
        for name, variable in self._own_state().items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        for name, variable in self._own_state().items():
            if name in store.keys():  # noqa: SIM118, a store is no mapping
                variable.assign(store[name])

    def _own_state(self):
        of_terms = {
            f"{term.kind}_{index}": variable
            for term in self.terms
            for index, variable in enumerate(term.all_variables)
        }
        return {
            **self._layer_seeds(),
            "label_counts": self.label_counts,
            **of_terms,
        }

    def reseed(self, seed):
        """Resets every seed generator of the model to a state derived from `seed`.

        This includes the seeds of dropout, augmentation, mining, and the prior. `seed`
        is a non-negative integer.
        """
        of_terms = [seed for term in self.terms for seed in term.seeds]
        for index, state in enumerate([*self._layer_seeds().values(), *of_terms]):
            numbers = np.random.SeedSequence((seed, index)).generate_state(2) >> 1
            state.assign(ops.cast(numbers, state.dtype))

    def _layer_seeds(self):
        return {
            f"seed_{place}_{index}": seed
            for place, layer in enumerate(self.layers)
            for index, seed in enumerate(seed_states(layer))
        }

    # Leaving keras_modals -------------------------------------------------

    def inference_model(self):
        """Returns the trained model as a plain `keras.Model`.

        It has no `LatentAugmentation`, and its saved file loads without keras_modals.
        Weights are copied.

        For a KerasHub task, the result is a task of the same class, with the
        preprocessor. If the task cannot be created from its config, a warning is issued
        and the result is a Functional model, which expects preprocessed inputs:
        `plain.predict(model.preprocessor(x))`.
        """
        return plain_model(self)

    def export(self, filepath, *args, **kwargs):
        """Exports the model, as `keras.Model.export` does.

        The class memory is left out if possible."""
        if nested_augmentations(self):
            return super().export(filepath, *args, **kwargs)
        return self.inference_model().export(filepath, *args, **kwargs)

    def get_config(self):
        config = super().get_config()
        config.update(
            label_output=self.label_output,
            num_views=self.num_views,
            clean_view=self.clean_view,
            warmup_steps=self.warmup_steps,
        )
        return config


def seed_states(layer):
    """The states of a layer's seed generators: its variables that are not weights."""
    weights = {id(weight) for weight in layer.weights}
    return [v for v in layer.variables if id(v) not in weights]
