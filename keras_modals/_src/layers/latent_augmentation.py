import math
import warnings
from functools import partial

import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_integer
from keras_modals._src.labels import IGNORED, Classes, Labels, Positions
from keras_modals._src.labels.mixing import mixed, with_rank
from keras_modals._src.layers.gradients import scale_gradient
from keras_modals._src.layers.mixed_mask import MixedMask, mixed_mask
from keras_modals._src.layers.policy_layer import PolicyLayer
from keras_modals._src.layers.position_rows import check_positions
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.layers.step_scope import ONLY, current_scope
from keras_modals._src.memory.class_memory import ClassMemory, memory_bytes
from keras_modals._src.memory.hardness import STATISTICAL_HARDNESS, latent_hardness
from keras_modals._src.memory.stream_quantiles import StreamQuantiles
from keras_modals._src.operations.batch import Batch
from keras_modals._src.rows import RowMap

#: How many latents of a class are remembered, if all fit into the limit in bytes.
MEMORY_SIZE, MEMORY_LIMIT = 100, 2**29


@keras.saving.register_keras_serializable("keras_modals")
class LatentAugmentation(PolicyLayer):
    """Augments latents during training: mixes them, or moves them in their class.

    Put it where the latents of a classifier are, at one place or several, and train
    with `keras_modals.ModalsModel` (or `keras_modals.augment`, which finds places),
    which hands it the labels. At inference it is the identity, exactly.

    What mixes, `class_mixing`, is drawn by the training step for all layers of a model:
    which rows are mixed, with whom, how much, and at which of the layers. Layers in
    several branches mix alike. Operations that keep labels act at each layer by itself:
    for each sample they are drawn and applied to the latent, using what a memory of the
    class's recent latents says about it: hard examples, the class's centre and spread,
    differences between two latents of a class. Where the policy is `class_mixing`
    alone, which needs no memory, there is none.
    Probabilities and magnitudes are variables: assigning `layer.policy = policy`
    takes effect at the next step, with nothing traced again.

    The default policy is `class_mixing`, an addition to the method's four operations:
    half of the rows are mixed with latents of other samples, and so are their labels,
    as in manifold mixup. A search looks for what suits your data.

    Three differences to the published method, each with a plain argument, since
    strong moves are known to hurt a learned encoder through its own gradient: a
    sample may have several views, one of them clean; beside a clean view, what the
    method's operations move trains the head alone unless `gradient_to_encoder=True`;
    the difference transform may borrow the variation of any class. How an operation of
    a policy acts is said, with its options, in `keras_modals.operations`.

    Args:
        num_classes: Integer, the number of classes, at least 2: short for
            `labels=keras_modals.Classes(num_classes)`.
        policy: A `keras_modals.Policy`. Defaults to `keras_modals.DEFAULT_POLICY`.
        gradient_to_encoder: Boolean, whether augmented latents send gradient to the
            encoder or train the head alone. In the latter case the encoder learns
            from the clean view, which carries its whole gradient, or else from what
            no operation moved. Defaults to `None`: `True` where the model has no
            clean view or where `class_mixing`, which moves the label along, is the
            only operation, else `False`.
        memory_size: Integer, how many latents to remember per class, at least 2, for
            operations that read the memory. Defaults to `None`: 100, or as many as fit
            into 512 MiB on each device, the classes' statistics (as much as 12 latents
            each) included; where fewer than 2 fit, building the layer raises.
        axis: -1 where each position of a sample has a label, as each token or pixel:
            short for `labels=keras_modals.Positions(...)`. The last axis has the
            features, and those before it are positions. Defaults to `None`: a sample
            has one label, and all axes but the first are features.
        labels: What the targets are, in place of `num_classes` and `axis`:
            `keras_modals.Classes`, `keras_modals.MultiLabels`,
            `keras_modals.Positions` or, for a regression, `keras_modals.Values`.
        max_rows: Integer, where each position has a label: of how many positions, drawn
            in each step among those with a label, a memory and terms see the latents.
            Defaults to `None`: 1024.
        seed: Optional integer to make the draws reproducible.

    Call arguments:
        latents: Tensor of rank 2 or more; all axes but the first are features, unless
            each position has a label. By hand
            also a dict of `"latents"` and `"labels"`, as for `keras.layers.MixUp`: the
            result is a dict of moved latents and of labels as shares,
            `(batch, num_classes)`, mixed where the latents are. Other entries stay as
            they are.
        labels: Class labels, in the forms that `ModalsModel` takes, by hand only: a
            `ModalsModel` has those of the batch. What moves labels is left out.
        training: Boolean, whether to augment.
        mask: Boolean `(batch, ...)`, the positions that are there, where each has a
            label.

    Input shape:
        `(batch, ...)`. Operations that keep labels need every axis but the first to
        be of known size.

    Output shape:
        The input's. Only in the training of a `ModalsModel` it is
        `(num_views * batch, ...)`: all of the first view, then all of the second.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)

    Example:

    >>> policy = keras_modals.Policy.single("gaussian_noise", 0.3)
    >>> layer = keras_modals.LatentAugmentation(2, policy, seed=0)
    >>> latents = keras.random.normal((8, 16), seed=0)
    >>> labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    >>> layer(latents, labels=labels, training=True).shape
    TensorShape([8, 16])
    """

    def __init__(
        self,
        num_classes=None,
        policy=None,
        *,
        axis=None,
        labels=None,
        gradient_to_encoder=None,
        memory_size=None,
        max_rows=None,
        seed=None,
        **kwargs,
    ):
        # Latents and labels stay what they are: at inference the layer is the identity.
        super().__init__(policy, autocast=False, **kwargs)
        #: What reads labels, a `Labels`.
        self.labels = _labels(num_classes, labels, axis)
        hardness = {each.hardness for each in self.operations.values()} - {None}
        if len(hardness) > 1:
            raise ValueError(
                "The memory keeps one number for how hard a latent is: give all "
                f"operations one `hardness`. Received: {sorted(hardness)}"
            )
        #: What makes a remembered latent hard; `None` where no operation asks.
        self._hardness = hardness.pop() if hardness else None
        #: Whether the samples' losses are of use to `remember`.
        self.needs_losses = self._hardness == "loss"
        self.gradient_to_encoder = gradient_to_encoder
        self._needs_memory = any(each.needs_memory for each in self.operations.values())
        if memory_size is not None:
            check_integer("memory_size", memory_size, 2)
            if not self._needs_memory:
                raise ValueError(
                    "No operation of the policy reads the memory, which there is none "
                    "of then: leave `memory_size` out. "
                    f"Received: memory_size={memory_size}, policy={policy}"
                )
        self.memory_size = memory_size
        if max_rows is not None:
            check_integer("max_rows", max_rows, 2)
            if not self.labels.per_position:
                raise ValueError(
                    "Only where each position has a label are there more rows than "
                    "samples: leave `max_rows` out, or pass `axis=-1`. "
                    f"Received: max_rows={max_rows}, labels={self.labels}"
                )
        self.max_rows = max_rows
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        is_any = self.partners is None or self.partners[0] == "any"
        if self.labels.per_position and not is_any:
            raise ValueError(
                "Where each position has a label, samples have none by which partners "
                f"could be drawn: use `partners='any'`. Received: {self.partners}"
            )
        self._warned = False
        self.supports_masking = True

    # State ---------------------------------------------------------------

    def build(self, latents_shape):
        if isinstance(latents_shape, dict):
            _check_entries(latents_shape)
            latents_shape = latents_shape["latents"]
        features = latents_shape[1:]
        if self.labels.per_position:
            features = latents_shape[-1:]
            if self.keeps_labels and len(latents_shape) < 3:
                raise ValueError(
                    "Operations that keep labels act at each position that has one: "
                    "put the layer where latents have the axes of the labels and one "
                    f"of features. Received: latents of shape {latents_shape}"
                )
        is_known = None not in features
        if len(latents_shape) < 2 or (self._moves and not is_known):
            raise ValueError(
                "Operations that keep labels need latents of rank 2 or more whose "
                "axes, other than the first, have known sizes. Pool or flatten "
                "sequences of variable length first, or mix only. "
                f"Received: latents of shape {latents_shape}"
            )
        #: The number of features of a latent, all axes but the first taken together, or
        #: the last where each position has a label; `None` where it varies.
        self.num_features = math.prod(features) if is_known else None
        #: The `ClassMemory`; `None` where no operation would read it.
        self.memory = None
        if self._needs_memory:
            size = self.memory_size or self._fitting_memory_size()
            self.memory = ClassMemory(self.labels.num_groups, size, name="memory")
            self.memory.build((None, self.num_features))
        #: Of numbers, their `StreamQuantiles`; else `None`.
        self.quantiles = None
        if self.labels.num_bins:
            self.quantiles = StreamQuantiles(self.labels.num_bins, name="quantiles")
            self.quantiles.build()
        self._build_policy()

    def _fitting_memory_size(self):
        fixed, per_latent = memory_bytes(self.labels.num_groups, self.num_features)
        fitting = (MEMORY_LIMIT - fixed) // per_latent
        if fitting < 2:
            raise ValueError(
                f"The latents have {self.num_features} features and there are "
                f"{self.labels.num_groups} classes: a memory of 2 latents per class "
                f"takes {fixed + 2 * per_latent} bytes. Insert the layer where latents "
                "are narrower, or pass `memory_size=2` to take as many. "
                "Received: memory_size=None"
            )
        return min(MEMORY_SIZE, fitting)

    @property
    def num_classes(self):
        """The number of classes; `None` where labels are none."""
        return self.labels.num_classes

    @property
    def members(self):
        """How many members of a population it augments for."""
        return 1

    @property
    def needs_groups(self):
        """Whether an operation asks for the groups of samples."""
        is_balanced = self.partners is not None and self.partners[0] == "balanced"
        return self._needs_memory or is_balanced

    def trains_encoder(self, rows):
        """Whether moved latents send gradient to the encoder."""
        if self.gradient_to_encoder is not None:
            return self.gradient_to_encoder
        return not (self.keeps_labels and rows.has_clean_view)

    # Call ----------------------------------------------------------------

    def call(self, latents, labels=None, training=None, mask=None):
        if not training:
            return latents
        scope = current_scope()
        if isinstance(latents, dict):
            if scope is not None:
                raise ValueError(
                    f"The layer '{self.name}' is called with a dict by hand only: in a "
                    "`ModalsModel`, which has the labels, call it with latents. "
                    f"Received: a dict with {list(latents)}"
                )
            return self._mix_by_hand(mask=mask, **latents)
        if labels is not None:
            if scope is not None:
                raise ValueError(
                    f"The layer '{self.name}' is given `labels` by hand only: in a "
                    "`ModalsModel` it has those of the batch. Leave them out."
                )
            labels, _ = self.read(labels)
        elif scope is None:
            self._warn(
                "was called in training without labels and does nothing. Make the "
                "model a `keras_modals.ModalsModel`, or turn it into one with "
                "`keras_modals.augment(model)`: its `fit` hands the labels to the "
                "layer. By hand, call `layer(latents, labels=labels, training=True)`."
            )
            return latents
        if scope is None:
            return self._move_by_hand(latents, labels.groups, mask)
        outputs = self._augment_in_step(latents, mask, scope)
        return _like(outputs, latents)

    def _augment_in_step(self, given, mask, scope):
        place, flat = scope.enter(self), _flat(given)
        rows = scope.rows.of_members(self.members)
        latents, moved = flat, None
        if not place.is_first and rows.num_views > 1:
            # An earlier layer has made the views.
            latents, moved = rows.of_members(1).of_view(flat, 0), rows.movable(flat)
            mask = None if mask is None else rows.of_members(1).of_view(mask, 0)
        scope.keep_mask(mask)
        if self.num_features and (place.is_last or self.memory is not None):
            scope.record(self, latents)
        mix = None
        if self.mixes_classes:
            mask = scope.mask_at(place, given, mask)
            mix = partial(scope.mixing, place=place, mask=mask)
        groups = self._where_there(scope.labels.groups, scope.mask)
        outputs, touched = self.apply(
            latents,
            groups,
            self.draw(rows, scope.strength, groups),
            rows,
            mix,
            moved,
        )
        if touched is not None:
            if self.labels.per_position:
                touched = ops.reshape(touched, (rows.moved_copies * rows.batch, -1))
                touched = ops.any(touched, axis=1)
            scope.mark_moved(touched)
        return outputs

    def _where_there(self, groups, mask):
        """The groups of positions, but of those that are masked."""
        if mask is None or not self.labels.per_position:
            return groups
        mask = ops.reshape(ops.cast(mask, "bool"), (-1,))
        return ops.where(mask, groups, IGNORED)

    def _move_by_hand(self, latents, labels, mask):
        """Latents moved by what keeps their labels."""
        if self.mixes_classes:
            self._warn(
                "was called by hand, where `class_mixing` is left out: it mixes labels "
                'as well. Call `layer({"latents": latents, "labels": labels}, '
                "training=True)`, which returns a dict of both."
            )
        flat, rows = _flat(latents), RowMap(ops.shape(latents)[0])
        labels = self._where_there(labels, mask)
        draws = self.draw(rows, groups=labels)
        outputs, _ = self.apply(flat, labels, draws, rows)
        self.remember(self.rows_of(flat), labels)
        return _like(outputs, latents)

    def _mix_by_hand(self, latents, labels, mask=None, **others):
        """A dict of moved latents and of their labels, as shares, and other entries as
        they are."""
        read, _ = self.read(labels, needs_groups=self.needs_groups)
        mask = mask.get("latents") if isinstance(mask, dict) else mask
        mask = None if mask is None else ops.cast(mask, "bool")
        groups = self._where_there(read.groups, mask)
        flat, rows = _flat(latents), RowMap(ops.shape(latents)[0])
        mixing = mix = None
        if self.mixes_classes:
            mixing = StepMixing([self], read, rows, self.seed_generator)
            is_of_positions = self.labels.per_position and mask is not None
            mix = partial(mixing, place=ONLY, mask=mask if is_of_positions else None)
        draws = self.draw(rows, groups=groups)
        outputs, _ = self.apply(flat, groups, draws, rows, mix)
        self.remember(self.rows_of(flat), groups)
        labels = self.labels.mixable(labels)
        if mixing is not None:
            partner = backend.take_rows(labels, mixing.partner)
            mixed_labels = mixed(labels, partner, mixing.share)
            if is_of_positions:
                both = mask & backend.take_rows(mask, mixing.partner)
                both = with_rank(both, len(labels.shape))
                mixed_labels = ops.where(both, mixed_labels, labels)
            labels = mixed_labels
        outputs = _like(outputs, latents)
        return {"latents": outputs, "labels": labels, **others}

    def read(self, targets, ignored=(), needs_groups=True, unlabeled=None):
        """Reads a batch's targets.

        Args:
            targets: Tensor, as users give it.
            ignored: Labels that the loss ignores.
            needs_groups: Whether anything asks for the groups of samples.
            unlabeled: As in `Labels.read`.

        Returns:
            As `Labels.read`.
        """
        edges = None
        if self.quantiles is not None and needs_groups:
            edges = self.quantiles.update(self.labels.means(targets))
        seed = self.seed_generator if needs_groups else None
        return self.labels.read(targets, ignored, seed, edges, unlabeled)

    def remember(self, latents, labels, losses=None, after=()):
        """Updates the class memory, where there is one, with a batch of clean latents,
        all replicas' parts of it included.

        Args:
            latents: `(batch, features)`.
            labels: int32 class indices, `(batch,)`.
            losses: Optional `(batch,)`, the samples' losses, where they are hardness.
            after: As in `ClassMemory.update`.
        """
        if self.memory is None:
            return
        latents = ops.stop_gradient(ops.cast(latents, "float32"))
        labels = ops.cast(labels, "int32")
        if self.needs_losses and losses is not None:
            hardness = ops.stop_gradient(ops.cast(losses, "float32"))
        elif self._hardness in STATISTICAL_HARDNESS:
            statistics = self.memory.statistics(labels)
            hardness = latent_hardness(self._hardness, latents, labels, statistics)
        else:
            hardness = ops.zeros_like(latents[:, 0])
        latents, labels, hardness = backend.gather((latents, labels, hardness))
        self.memory.update(latents, labels, hardness, after)

    def rows_of(self, latents):
        """Latents with a row for all that has a label: for each sample as they are, or
        for each position, those of a sample together."""
        if not self.labels.per_position:
            return latents
        return ops.reshape(latents, (-1, self.num_features))

    def draw(self, rows, strength=None, groups=None):
        """Draws what the moves of the rows of a `RowMap` depend on, as a list of
        `Step`; probabilities are multiplied by `strength`. With `groups`, of each
        position, for each of these."""
        probabilities = self.probabilities
        if strength is not None and self._moves:
            probabilities = strength * probabilities
        return self._moves.draw(
            probabilities,
            self.magnitudes,
            rows.batch if groups is None else ops.shape(groups)[0],
            rows.moved_copies,
            self.num_features,
            self.seed_generator,
        )

    def apply(self, latents, labels, steps, rows, mix=None, moved=None):
        """Applies what was drawn. A function of its arguments and of the class memory.

        Args:
            latents: `(batch, ...)`, the samples'.
            labels: int32 `(batch,)`, their groups, or those of their positions.
            steps: As returned by `draw`.
            rows: The `RowMap` of the step.
            mix: The `StepMixing` at this layer's place; `None` to mix nothing.
            moved: The rows that may be moved, where an earlier layer has made them.
                Defaults to the samples' latents.

        Returns:
            Pair of the outputs, `(rows, features)`, and where a move that keeps the
            label was made, boolean; `None` without such operations.
        """
        trains_encoder = self.trains_encoder(rows)
        samples = rows.tile_moved(latents) if moved is None else moved
        moved, source = samples, latents
        if not trains_encoder:
            moved, source = ops.stop_gradient(moved), ops.stop_gradient(source)
        touched = None
        if steps:
            source_rows, moved_rows = (
                self.rows_of(ops.cast(each, "float32")) for each in (source, moved)
            )
            if self.labels.per_position:
                check_positions(self.name, source_rows, labels)
            batch = Batch(source_rows, labels, rows.moved_copies, self.memory)
            walked, touched = self._moves.walk(moved_rows, batch, steps)
            if not (trains_encoder or rows.has_clean_view):
                # What no operation moved trains the encoder.
                own = self.rows_of(samples)
                walked = ops.where(touched[:, None], ops.cast(walked, own.dtype), own)
            moved = ops.cast(walked, latents.dtype)
            if self.labels.per_position:
                moved = ops.reshape(moved, ops.shape(samples))
        elif not (trains_encoder or rows.has_clean_view):
            moved = samples
        if mix is not None:
            stops = not (trains_encoder or rows.has_clean_view)
            moved = mix(moved, source, stops_gradient=stops)
        outputs = moved
        if trains_encoder or not rows.has_clean_view:
            outputs = self._to_encoder(outputs, rows.members)
        if rows.has_clean_view:
            clean = self._to_encoder(latents, 1)
            if not trains_encoder:
                # The clean view, one of several, carries the encoder's whole gradient.
                clean = scale_gradient(clean, rows.num_views)
            outputs = rows.join(clean, outputs)
        return outputs, touched

    def _to_encoder(self, latents, members):
        """Rows of all members, whose gradient is the encoder's, of those of one, which
        all share, or of all."""
        return latents

    # Keras ---------------------------------------------------------------

    def _warn(self, what):
        """Says what a call does, once."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"The layer '{self.name}' {what}", stacklevel=2)

    def compute_output_shape(self, latents_shape, labels_shape=None):
        return latents_shape

    def compute_output_spec(self, latents, labels=None, training=None, mask=None):
        return keras.tree.map_structure(
            lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype), latents
        )

    def compute_mask(self, latents, previous_mask=None):
        """The mask of the rows that the head receives. What is mixed has the positions
        of both."""
        if isinstance(previous_mask, keras.KerasTensor):
            # In a graph it is a path of its own.
            return MixedMask(self.name)(previous_mask)
        scope = current_scope()
        if previous_mask is None or scope is None or scope.rows is None:
            return previous_mask
        return mixed_mask(previous_mask, scope, self.name)

    def get_config(self):
        config = super().get_config()
        config.update(
            policy=keras.saving.serialize_keras_object(self.policy),
            gradient_to_encoder=self.gradient_to_encoder,
            memory_size=self.memory_size,
            seed=self.seed,
        )
        if self.labels == Classes(self.num_classes):
            return {**config, "num_classes": self.num_classes}
        labels = keras.saving.serialize_keras_object(self.labels)
        return {**config, "labels": labels, "max_rows": self.max_rows}


def _flat(latents):
    """All features on one axis, where there are known sizes."""
    if len(latents.shape) == 2 or None in latents.shape[1:]:
        return latents
    return ops.reshape(latents, (-1, math.prod(latents.shape[1:])))


def _like(flat, latents):
    """Rows in the form of some latents."""
    if len(latents.shape) == 2 or None in latents.shape[1:]:
        return flat
    return ops.reshape(flat, (-1, *latents.shape[1:]))


def _check_entries(inputs):
    if not {"latents", "labels"} <= inputs.keys():
        raise ValueError(
            'Expected a dict with "latents" and "labels". '
            f"Received: a dict with {list(inputs)}"
        )


def _labels(num_classes, labels, axis):
    """The `Labels` that are given, or those of a number of classes."""
    if axis not in (None, -1) or (axis is not None and labels is not None):
        raise ValueError(
            "Expected `axis=-1`, with `num_classes`, where each position has a label "
            "and the last axis has the features. "
            f"Received: axis={axis}, labels={labels!r}"
        )
    if labels is None:
        classes = Classes(check_integer("num_classes", num_classes, 2))
        return classes if axis is None else Positions(classes)
    if isinstance(labels, dict):
        labels = keras.saving.deserialize_keras_object(labels)
    if not isinstance(labels, Labels) or num_classes is not None:
        raise ValueError(
            "Expected `num_classes`, or `labels` in its place, such as "
            "`keras_modals.Values()`. "
            f"Received: num_classes={num_classes}, labels={labels!r}"
        )
    if isinstance(labels, Classes):
        check_integer("num_classes", labels.num_classes, 2)
    return labels
