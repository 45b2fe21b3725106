"""Communication between the training step and the layers.

The step opens a scope around the model's call. Layers look it up to get labels and
random draws, and to return clean latents. Scopes are thread-local, since distribution
strategies run replicas in threads.
"""

import threading
from collections import namedtuple
from typing import Any

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED
from keras_modals._src.labels.mixing import fits, same_positions, with_rank
from keras_modals._src.layers.position_rows import (
    MAX_ROWS,
    check_positions,
    draw_rows,
    has_label,
    without,
)

_local = threading.local()

Place = namedtuple(
    "Place", ["level", "until", "is_first", "is_last", "members"], defaults=[1]
)
Place.__doc__ = """The position of a `LatentAugmentation` among those of its model.

Attributes:
    level: Integer, the first level that it mixes at. Mixing at earlier levels has
        happened before it.
    until: Integer, one past the last level that it mixes at; `level` if it does not
        mix.
    is_first: Whether no other layer comes before it: several views begin there.
    is_last: Whether it is the nearest to the head. Terms see its latents.
    members: Integer, the number of population members it has rows for.
"""

Recorded = namedtuple(
    "Recorded", ["latents", "labels", "sample_weight", "rows"], defaults=[None]
)
Recorded.__doc__ = """The latents and labels that a layer received in a step.

Attributes:
    latents: `(batch, features)`, of each sample's first view.
    labels: `groups` or `compared`, as in `BatchLabels`; -1 for samples without a label,
        and for samples that an earlier layer moved, whose latents are not clean.
    sample_weight: float32 `(batch,)`, 0 for samples that an earlier layer moved, else
        1; `None` if no layer moved any.
    rows: int32, indices among all positions; `None` if rows are samples.
"""

#: The place of a single layer.
ONLY = Place(level=0, until=1, is_first=True, is_last=True)


class StepScope:
    """One training step of one replica.

    Args:
        labels: The `BatchLabels` of the step; `None` to augment nothing.
        rows: The `RowMap` of the step; `None` to augment nothing.
        mixing: The `StepMixing`; `None` if no layer mixes.
        places: Dict from the names of the model's layers to their `Place`.
        strength: Float32 scalar that the layers' probabilities are multiplied by;
            `None` for 1.
        has_positions: Whether each position of a sample has a target. Only positions
            that are valid in both samples are then mixed.

    Attributes:
        member_outputs: The outputs of each head of a population, at inference.
        mask: Boolean `(batch, ...)`, the valid positions of the samples before any
            mixing; `None` if no mask reaches a layer.
    """

    def __init__(
        self,
        labels,
        rows=None,
        mixing=None,
        places=None,
        strength=None,
        has_positions=False,
    ):
        self.labels, self.rows, self.mixing = labels, rows, mixing
        self.has_positions = has_positions
        self.strength = strength
        self.member_outputs = self.mask = None
        #: The layer nearest to the head.
        self.layer: Any = None
        self._places = places or {}
        self._recorded: dict[str, Any] = {}
        self._moved: list = []
        # Places that mix all positions of a sample, whatever its mask is.
        self._mixed_whole: list = []

    def place_of(self, name):
        """The `Place` of a layer of the trained model."""
        if name not in self._places:
            raise ValueError(
                f"The layer '{name}' is not part of the trained model. Give that "
                "model a layer of its own."
            )
        return self._places[name]

    def enter(self, layer):
        """Registers a layer that augments in this step, and returns its `Place`.

        A layer may augment only once per step."""
        place = self.place_of(layer.name)
        if layer.name in self._recorded:
            raise ValueError(
                f"The layer '{layer.name}' was called twice in one training step. Use "
                "it once, where the latents are."
            )
        self._recorded[layer.name] = None
        if place.is_last:
            self.layer = layer
        return place

    def check_all_ran(self):
        """Raises if a layer did not run in the step.

        Labels would otherwise be mixed without their latents."""
        missing = [name for name in self._places if name not in self._recorded]
        if missing:
            raise ValueError(
                "Some `LatentAugmentation` layers did not run in a training step, for "
                "example because a nested model is called with `training=False`. Put "
                f"them outside of that model. Received: {missing}"
            )

    def keep_mask(self, mask):
        """Keeps the first mask that reaches a layer, if it has the targets' positions.

        At a later layer, the mask of a mixed row has the positions of two samples."""
        if mask is None or self.mask is not None or not self.has_positions:
            return
        targets = self.labels.targets
        if targets is None or same_positions(mask, targets):
            self.mask = ops.cast(mask, "bool")

    def mask_at(self, place, latents, mask):
        """The mask of positions for mixing at a layer's place.

        Only positions that are valid in both samples are mixed.

        Args:
            place: The layer's `Place`.
            latents: The layer's input.
            mask: The mask of the input; `None` for none.

        Returns:
            A boolean mask; `None` to mix all positions of a sample.
        """
        has_mask = self.mask is not None and mask is not None
        if has_mask and fits(self.mask, latents):
            return self.mask
        self._mixed_whole.append(place)
        return None

    def mask_of_targets(self):
        """The positions where targets are mixed like latents, boolean `(batch, ...)`.

        `None` for all positions."""
        if self.mask is None or self.mixing is None:
            return self.mask
        mask = self.mask
        for place in self._mixed_whole:
            happens = self.mixing.happens(place)
            if happens is True:
                return None
            if happens is not False:
                mask = mask | happens
        return mask

    def record(self, layer, latents):
        """Records a layer's latents of each sample's first view."""
        self._recorded[layer.name] = latents, list(self._moved)

    def recorded(self, layer, labels):
        """Returns what was recorded for a layer, as `Recorded`.

        Args:
            layer: A `LatentAugmentation`.
            labels: An entry of `labels`: `groups` for a memory, `compared` for terms.
        """
        latents, moved = self._recorded[layer.name]
        level = self.place_of(layer.name).level
        if self.mixing is not None and level and not self.rows.has_clean_view:
            moved = [*moved, self._of_first_views(self.mixing.is_mixed(level))]
        if layer.labels.per_position:
            return self._of_positions(layer, latents, labels, moved)
        weights = None
        for each in moved:
            labels = ops.where(with_rank(each, len(labels.shape)), IGNORED, labels)
            weights = ops.ones(ops.shape(each)) if weights is None else weights
            weights = ops.where(each, 0.0, weights)
        return Recorded(latents, labels, weights)

    def _of_positions(self, layer, latents, labels, moved):
        """Records for a random sample of the positions that have a label."""
        latents = layer.rows_of(latents)
        check_positions(layer.name, latents, labels)
        batch = ops.shape(self.labels.samples)[0]
        masked = [] if self.mask is None else [ops.logical_not(self.mask)]
        for each in (*masked, *moved):
            labels = without(labels, each, batch)
        known = has_label(labels)
        size = layer.max_rows or MAX_ROWS
        drawn = draw_rows(known, size, layer.seed_generator)
        weights = ops.cast(known, "float32")
        latents, labels, weights = (
            backend.take_rows(each, drawn) for each in (latents, labels, weights)
        )
        return Recorded(latents, labels, weights, drawn)

    def mark_moved(self, touched):
        """Records which of the movable rows a layer has moved."""
        if not self.rows.has_clean_view:
            self._moved.append(self._of_first_views(touched))

    def _of_first_views(self, moved_rows):
        return moved_rows[: self.rows.batch]

    def __enter__(self):
        self._outer = current_scope()
        _local.scope = self
        return self

    def __exit__(self, *_):
        _local.scope = self._outer


def current_scope():
    """The innermost open `StepScope` of this thread, or `None`."""
    return getattr(_local, "scope", None)
