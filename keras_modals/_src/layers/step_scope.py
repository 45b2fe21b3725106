"""How labels and what a step draws reach the layers, and clean latents leave them.

The train step opens a scope around the model's call; layers look it up. Scopes are
thread-local, since distribution strategies run replicas in threads.
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
Place.__doc__ = """Where a `LatentAugmentation` is among those of its model.

Attributes:
    level: Integer, the first of the levels that it mixes at. Mixing at earlier ones has
        happened before it.
    until: Integer, the one after the last of them; `level` if it does not mix.
    is_first: Whether none comes before it: several views begin there.
    is_last: Whether it is the nearest to the head, whose latents terms see.
    members: For how many members of a population it has rows.
"""

Recorded = namedtuple(
    "Recorded", ["latents", "labels", "sample_weight", "rows"], defaults=[None]
)
Recorded.__doc__ = """What a layer received in a step.

Attributes:
    latents: `(batch, features)`, of each sample's first view.
    labels: Groups, or what terms compare, as in `BatchLabels`; -1 for samples without
        a label, and for those that an earlier layer moved: their latents are of no
        sample.
    sample_weight: float32 `(batch,)`, 0 for samples that an earlier layer moved, else
        1; `None` where all are as they were.
    rows: int32, which of all positions they are; `None` where they are of samples.
"""

#: That of a layer alone.
ONLY = Place(level=0, until=1, is_first=True, is_last=True)


class StepScope:
    """One training step of one replica.

    Args:
        labels: The `BatchLabels` of the step; `None` at inference.
        rows: The `RowMap` of the step; `None` at inference.
        mixing: The `StepMixing`; `None` where no layer mixes.
        places: Dict from the names of the model's layers to their `Place`.
        strength: Float32 scalar that the layers' probabilities are multiplied by;
            `None` for 1.
        has_positions: Whether each position of a sample has a target: it is then mixed
            where both samples have it, and else left alone.

    Attributes:
        member_outputs: What each head of a population says, at inference.
        mask: Boolean `(batch, ...)`, which positions of the samples are there, before
            any mixing; `None` where no mask reaches a layer.
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
        # Places at which all of a sample is mixed, whatever its mask says.
        self._mixed_whole: list = []

    def place_of(self, name):
        """The `Place` of a layer of the model that is trained."""
        if name not in self._places:
            raise ValueError(
                f"The layer '{name}' is none of the model that is trained: give that "
                "model a layer of its own."
            )
        return self._places[name]

    def enter(self, layer):
        """The `Place` of a layer that augments in this step, which it does once."""
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
        """Refuses a step in which a layer did not run: labels would be mixed where its
        latents are not."""
        missing = [name for name in self._places if name not in self._recorded]
        if missing:
            raise ValueError(
                "These `LatentAugmentation` layers did not run in a training step, as "
                "in a model that is called with `training=False`: put them outside of "
                f"it. Received: {missing}"
            )

    def keep_mask(self, mask):
        """Keeps the first mask that reaches a layer, where it is of the positions that
        have targets: at a later one, that of what is mixed has the positions of two
        samples."""
        if mask is None or self.mask is not None or not self.has_positions:
            return
        targets = self.labels.targets
        if targets is None or same_positions(mask, targets):
            self.mask = ops.cast(mask, "bool")

    def mask_at(self, place, latents, mask):
        """The mask of positions that only those who both have them are mixed at, at the
        place of a layer that mixes; `None` where all of a sample is mixed.

        Args:
            place: The layer's `Place`.
            latents: What the layer receives.
            mask: The mask beside it, `None` for none.
        """
        has_mask = self.mask is not None and mask is not None
        if has_mask and fits(self.mask, latents):
            return self.mask
        self._mixed_whole.append(place)
        return None

    def mask_of_targets(self):
        """The positions at which targets are mixed as latents were, boolean
        `(batch, ...)`; `None` for all."""
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
        """Keeps a layer's latents, of each sample's first view, `(batch, features)`."""
        self._recorded[layer.name] = latents, list(self._moved)

    def recorded(self, layer, labels):
        """What there is of a layer, as `Recorded`.

        Args:
            layer: A `LatentAugmentation`.
            labels: Of `labels`, the groups, for a memory, or what terms compare.
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
        """Of the positions that have a label, some that are drawn."""
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
        """Says which of the rows that may be moved a layer has moved."""
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
