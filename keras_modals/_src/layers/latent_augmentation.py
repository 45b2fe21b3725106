import math
import warnings
from functools import partial

import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_boolean, check_integer
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

#: Number of latents to remember per class, if they fit into the limit in bytes.
MEMORY_SIZE, MEMORY_LIMIT = 100, 2**29


@keras.saving.register_keras_serializable("keras_modals")
class LatentAugmentation(PolicyLayer):
    """Augments latents during training: mixes samples, or moves them in their class.

    Put the layer where the latents of a classifier are, at one or several places, and
    train with `keras_modals.ModalsModel`, which passes the labels to it.
    `keras_modals.augment` finds the places and does both. At inference the layer is
    exactly the identity.

    Mixing (`class_mixing`) is drawn by the training step for all layers of a model:
    which rows are mixed, with which partners, how much, and at which of the layers.
    Layers in parallel branches mix the same way. Operations that keep labels act at
    each layer separately. They are drawn per sample, and use a memory of the recent
    latents of each class: its hard examples, center, spread, and differences between
    its latents. A policy of `class_mixing` alone needs no memory, and the layer has
    none. Probabilities and magnitudes are variables: assigning `layer.policy = policy`
    takes effect in the next step, without retracing.

    The default policy is `class_mixing`, an addition to the method's four operations.
    As in manifold mixup, half of the rows are mixed with latents of other samples, and
    so are their labels. A search can find a policy that suits your data.

    The layer differs from the published method in three ways, each controlled by an
    argument, because strong moves can hurt a learned encoder through its own gradient.
    A sample may have several views, one of them clean. With a clean view, latents moved
    by the method's operations train only the head, unless `gradient_to_encoder=True`.
    The difference transform may use the variation of any class. The operations and
    their options are documented in `keras_modals.operations`.

    Args:
        num_classes: Integer of at least 2, the number of classes. Short for
            `labels=keras_modals.Classes(num_classes)`.
        policy: A `keras_modals.Policy`. Defaults to `keras_modals.DEFAULT_POLICY`.
        gradient_to_encoder: Boolean, whether augmented latents send gradients to the
            encoder. If `False`, they train only the head; the encoder learns from the
            clean view, which carries its whole gradient, or, without a clean view, from
            latents that no operation moved. Defaults to `None`: `True` if the model has
            no clean view or the policy has only operations that move labels, such as
            `class_mixing`, else `False`.
        memory_size: Integer of at least 2, the number of latents to remember per class,
            for operations that read the memory. Defaults to `None`: 100, or as many as
            fit into 512 MiB on each device, including the classes' statistics (the size
            of 12 latents each). If fewer than 2 fit, building the layer raises an
            error.
        axis: -1 if each position of a sample, such as a token or pixel, has a label.
            Short for `labels=keras_modals.Positions(...)`. The last axis then holds
            features, and the axes before it are positions. Defaults to `None`: a sample
            has one label, and all axes but the first are features.
        labels: The kind of targets, in place of `num_classes` and `axis`:
            `keras_modals.Classes`, `keras_modals.MultiLabels`,
            `keras_modals.Positions` or, for a regression, `keras_modals.Values`.
        max_rows: Integer, if each position has a label: the number of positions whose
            latents are seen by the memory and the terms, drawn in each step from those
            with a label. Defaults to `None`: 1024.
        seed: Optional integer to make the draws reproducible.

    Call arguments:
        latents: Tensor of rank 2 or more. All axes but the first are features, unless
            each position has a label. In a direct call, it may also be a dict of
            `"latents"` and `"labels"`, as for `keras.layers.MixUp`. The result is then
            a dict of the moved latents and the labels as class probabilities,
            `(batch, num_classes)`, mixed like the latents. Other entries are unchanged.
        labels: Class labels, in the forms that `ModalsModel` accepts. Only in a direct
            call: a `ModalsModel` uses the labels of the batch. Operations that move
            labels are skipped.
        training: Boolean, whether to augment.
        mask: Boolean `(batch, ...)`, `True` at valid positions, if each position has a
            label.

    Input shape:
        `(batch, ...)`. Operations that keep labels need known sizes for all axes but
        the first.

    Output shape:
        Same as the input. Only during training of a `ModalsModel` it is
        `(num_views * batch, ...)`: all of the first view, then all of the second.

    Reference:

    - [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
    - [Verma et al., 2019](https://arxiv.org/abs/1806.05236)

    Example:

    >>> policy = keras_modals.Policy.single("gaussian_noise", 0.3)
    >>> layer = keras_modals.LatentAugmentation(2, policy, seed=0)
    >>> latents = keras.random.normal((8, 16), seed=0)
    >>> labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    >>> tuple(layer(latents, labels=labels, training=True).shape)
    (8, 16)
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
        # No casts of latents and labels: at inference the layer is the identity.
        super().__init__(policy, autocast=False, **kwargs)
        #: The kind of labels, a `Labels`.
        self.labels = _labels(num_classes, labels, axis)
        hardness = {each.hardness for each in self.operations.values()} - {None}
        if len(hardness) > 1:
            raise ValueError(
                "The memory stores a single hardness per latent, so all operations "
                f"must use one `hardness`. Received: {sorted(hardness)}"
            )
        #: The kind of hardness; `None` if no operation uses it.
        self._hardness = hardness.pop() if hardness else None
        #: Whether `remember` uses the samples' losses.
        self.needs_losses = self._hardness == "loss"
        if gradient_to_encoder is not None:
            gradient_to_encoder = check_boolean(
                "gradient_to_encoder", gradient_to_encoder
            )
        self.gradient_to_encoder = gradient_to_encoder
        self._needs_memory = any(each.needs_memory for each in self.operations.values())
        if memory_size is not None:
            check_integer("memory_size", memory_size, 2)
            if not self._needs_memory:
                raise ValueError(
                    "No operation of the policy reads the memory, so the layer has "
                    "none. Leave `memory_size` out. "
                    f"Received: memory_size={memory_size}, policy={policy}"
                )
        self.memory_size = memory_size
        if max_rows is not None:
            check_integer("max_rows", max_rows, 2)
            if not self.labels.per_position:
                raise ValueError(
                    "`max_rows` applies only if each position has a label. Leave it "
                    "out, or pass `axis=-1`. "
                    f"Received: max_rows={max_rows}, labels={self.labels}"
                )
        self.max_rows = max_rows
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        is_any = self.partners is None or self.partners[0] == "any"
        if self.labels.per_position and not is_any:
            raise ValueError(
                "If each position has a label, samples have none to draw partners by. "
                f"Use `partners='any'`. Received: {self.partners}"
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
                    "Operations that keep labels act at each position with a label. "
                    "Put the layer where latents have the axes of the labels and one "
                    f"of features. Received: latents of shape {latents_shape}"
                )
        is_known = None not in features
        if len(latents_shape) < 2 or (self._moves and not is_known):
            raise ValueError(
                "Operations that keep labels need latents of rank 2 or more with known "
                "sizes for all axes but the first. Pool or flatten sequences of "
                "variable length first, or use only `class_mixing`. "
                f"Received: latents of shape {latents_shape}"
            )
        #: The number of features of a latent: the product of all axes but the first, or
        #: the last axis if each position has a label; `None` if it varies.
        self.num_features = math.prod(features) if is_known else None
        #: The `ClassMemory`; `None` if no operation reads it.
        self.memory = None
        if self._needs_memory:
            size = self.memory_size or self._fitting_memory_size()
            self.memory = ClassMemory(self.labels.num_groups, size, name="memory")
            self.memory.build((None, self.num_features))
        #: The `StreamQuantiles` of numeric targets; `None` for other targets.
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
                "are narrower, or pass `memory_size=2` to use that much memory. "
                "Received: memory_size=None"
            )
        return min(MEMORY_SIZE, fitting)

    @property
    def num_classes(self):
        """The number of classes; `None` if labels are not classes."""
        return self.labels.num_classes

    @property
    def members(self):
        """The number of population members that the layer augments for."""
        return 1

    @property
    def needs_groups(self):
        """Whether an operation uses the groups of samples."""
        is_balanced = self.partners is not None and self.partners[0] == "balanced"
        return self._needs_memory or is_balanced

    def trains_encoder(self, has_clean_view):
        """Whether moved latents send gradients to the encoder."""
        if self.gradient_to_encoder is not None:
            return self.gradient_to_encoder
        return not (self.keeps_labels and has_clean_view)

    # Call ----------------------------------------------------------------

    def call(self, latents, labels=None, training=None, mask=None):
        if not training:
            return latents
        scope = current_scope()
        if scope is not None and scope.labels is None:
            return latents
        if isinstance(latents, dict):
            if scope is not None:
                raise ValueError(
                    f"The layer '{self.name}' accepts a dict in a direct call only. In "
                    "a `ModalsModel`, which has the labels, call it with latents. "
                    f"Received: a dict with {list(latents)}"
                )
            return self._mix_by_hand(mask=mask, **latents)
        if labels is not None:
            if scope is not None:
                raise ValueError(
                    f"The layer '{self.name}' accepts `labels` in a direct call only. "
                    "In a `ModalsModel` it uses those of the batch. Leave them out."
                )
            labels, _ = self.read(labels)
        elif scope is None:
            self._warn(
                "was called in training without labels and does nothing. Make the "
                "model a `keras_modals.ModalsModel`, or convert it to one with "
                "`keras_modals.augment(model)`: its `fit` passes the labels to the "
                "layer. Or call `layer(latents, labels=labels, training=True)`."
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
            # An earlier layer has created the views.
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
        """The groups of positions, with `IGNORED` where they are masked."""
        if mask is None or not self.labels.per_position:
            return groups
        mask = ops.reshape(ops.cast(mask, "bool"), (-1,))
        return ops.where(mask, groups, IGNORED)

    def _move_by_hand(self, latents, labels, mask):
        """Applies the operations that keep labels, in a direct call."""
        if self.mixes_classes:
            self._warn(
                "was called directly, which skips `class_mixing` because it also mixes "
                'labels. Call `layer({"latents": latents, "labels": labels}, '
                "training=True)`, which returns a dict of both."
            )
        flat, rows = _flat(latents), RowMap(ops.shape(latents)[0])
        labels = self._where_there(labels, mask)
        draws = self.draw(rows, groups=labels)
        outputs, _ = self.apply(flat, labels, draws, rows)
        self.remember(self.rows_of(flat), labels)
        return _like(outputs, latents)

    def _mix_by_hand(self, latents, labels, mask=None, **others):
        """Moves latents and labels in a direct call with a dict.

        Labels become class probabilities; other entries are unchanged."""
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
            targets: Tensor, in the form that users pass it.
            ignored: Labels that the loss ignores.
            needs_groups: Whether anything uses the groups of samples.
            unlabeled: As in `Labels.read`.

        Returns:
            As in `Labels.read`.
        """
        edges = None
        if self.quantiles is not None and needs_groups:
            edges = self.quantiles.update(self.labels.means(targets))
        seed = self.seed_generator if needs_groups else None
        return self.labels.read(targets, ignored, seed, edges, unlabeled)

    def remember(self, latents, labels, losses=None, after=()):
        """Updates the class memory, if any, with a batch of clean latents.

        The batch includes the parts of all replicas.

        Args:
            latents: `(batch, features)`.
            labels: int32 class indices, `(batch,)`.
            losses: Optional `(batch,)`, the samples' losses, if they are the hardness.
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
        """Reshapes latents to one row per label: per sample, or per position."""
        if not self.labels.per_position:
            return latents
        return ops.reshape(latents, (-1, self.num_features))

    def draw(self, rows, strength=None, groups=None):
        """Draws the random numbers for the moves of the rows of a `RowMap`.

        Probabilities are multiplied by `strength`. With `groups`, of each position,
        numbers are drawn per position.

        Returns:
            List of `Step`."""
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
        """Applies drawn moves. Depends only on its arguments and the class memory.

        Args:
            latents: `(batch, ...)`, the latents of the samples.
            labels: int32 `(batch,)`, the groups of the samples or of their positions.
            steps: As returned by `draw`.
            rows: The `RowMap` of the step.
            mix: The `StepMixing` at this layer's place; `None` to mix nothing.
            moved: The rows that may be moved, if an earlier layer has created them.
                Defaults to the samples' latents.

        Returns:
            Pair of the outputs, `(rows, features)`, and a boolean mask of the rows
            moved by an operation that keeps the label; `None` without such operations.
        """
        trains_encoder = self.trains_encoder(rows.has_clean_view)
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
                # Latents that no operation moved train the encoder.
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
        """Adapts the gradient that rows of `members` members send to the encoder."""
        return latents

    # Keras ---------------------------------------------------------------

    def _warn(self, what):
        """Warns about a call, once."""
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
        """The mask of the rows that the head receives.

        Mixed rows have the positions of both samples."""
        if isinstance(previous_mask, keras.KerasTensor):
            # In a graph the mask is a separate path.
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
    """Flattens all features to one axis, if their sizes are known."""
    if len(latents.shape) == 2 or None in latents.shape[1:]:
        return latents
    return ops.reshape(latents, (-1, math.prod(latents.shape[1:])))


def _like(flat, latents):
    """Reshapes rows to the shape of the latents."""
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
    """The given `Labels`, or those for a number of classes."""
    if axis not in (None, -1) or (axis is not None and labels is not None):
        raise ValueError(
            "Expected `axis=-1`, together with `num_classes`, if each position has a "
            "label and the last axis holds the features. "
            f"Received: axis={axis}, labels={labels!r}"
        )
    if labels is None:
        classes = Classes(check_integer("num_classes", num_classes, 2))
        return classes if axis is None else Positions(classes)
    if isinstance(labels, dict):
        labels = keras.saving.deserialize_keras_object(labels)
    if not isinstance(labels, Labels) or num_classes is not None:
        raise ValueError(
            "Expected either `num_classes` or `labels`, such as "
            "`keras_modals.Values()`. "
            f"Received: num_classes={num_classes}, labels={labels!r}"
        )
    if isinstance(labels, Classes):
        check_integer("num_classes", labels.num_classes, 2)
    return labels
