"""Draws of mixing in a training step, made once for all layers of a model."""

import keras
from keras import ops

from keras_modals._src import backend
from keras_modals._src.indices import uniform_index
from keras_modals._src.labels import IGNORED
from keras_modals._src.labels.mixing import with_rank
from keras_modals._src.layers.partners import draw_partners, lacking


class StepMixing:
    """The random draws of one training step for the layers that mix.

    A model has levels. Each step draws one of them, where the mixing happens. A level
    is a set of layers that together see all of a sample. The policy of its first layer,
    the leader, determines which rows are mixed and how much.

    Args:
        leaders: List of the leaders, `LatentAugmentation`s, one for each level.
        labels: The `BatchLabels` of the step.
        rows: The `RowMap` of the step, without partners.
        seed: A `keras.random.SeedGenerator`.
        strength: Float32 scalar that probabilities are multiplied by; `None` for 1.

    Attributes:
        level: The drawn level: an integer if there is one level or steps run eagerly,
            else an int32 scalar.
        partner: int32 `(n,)`, the sample that each movable row is mixed with.
        share: float32 `(n,)`, the partner's share; 0 if a row is not mixed.
    """

    def __init__(self, leaders, labels, rows, seed, strength=None):
        # Members of a population share the draws for layers that they share.
        drawn = rows if len(leaders) == 1 else rows.of_members(1)
        count = drawn.moved_copies * drawn.batch
        width = max(leader.num_mixing for leader in leaders)
        numbers = backend.uniform((1 + count * (2 + 2 * width),), seed)
        self.level, self._rows = 0, rows
        if len(leaders) > 1:
            self.level = backend.branch_index(uniform_index(numbers[0], len(leaders)))
        draws = ops.reshape(numbers[1:], (count, 2 + 2 * width))
        samples = drawn.tile_moved(ops.arange(drawn.batch, dtype="int32"))
        operation, kind = leaders[0].operation_that_mixes, leaders[0].labels
        partner = draw_partners(operation, draws[:, :2], samples, labels, kind)
        # A sample alone in its batch has no partner.
        can_mix, always = partner != samples, None
        labeled, apart = labels.samples != IGNORED, lacking(labels)
        both = drawn.tile_moved(labeled) & backend.take_rows(labeled, partner)
        if apart is not None:
            # Unlabeled samples are mixed whatever the policy's probability is.
            always = drawn.tile_moved(apart)
            both = both | (always & backend.take_rows(apart, partner))
        can_mix = can_mix & both

        def parts(leader):
            copies = leader.members // drawn.members
            of_leader = (draws, partner, can_mix, always)
            return _parts(leader, strength, *(_tiled(t, copies) for t in of_leader))

        def rows_of(leader, tensor):
            return backend.tile_rows(tensor, rows.members // leader.members)

        self._parts = {
            level: parts(leader)
            for level, leader in enumerate(leaders)
            if not isinstance(self.level, int) or level == self.level
        }
        shares = [
            rows_of(leaders[level], _share_of_all(parts))
            for level, (_, parts) in self._parts.items()
        ]
        self.partner = backend.tile_rows(partner, rows.members // drawn.members)
        self.share = shares[0]
        if len(shares) > 1:
            self.share = backend.take_rows(ops.stack(shares), self.level)

    def __call__(self, moved, latents, place, stops_gradient=False, mask=None):
        """Mixes rows with their partners, if the drawn level is one of the layer's.

        Otherwise rows are returned unchanged.

        Args:
            moved: The rows that may be moved, `(n, features)`.
            latents: `(batch, features)`, the latents of the samples.
            place: The layer's `Place`.
            stops_gradient: Whether to stop the gradient from mixed rows to `moved`.
            mask: Optional boolean `(batch, ...)`, the valid positions of the samples.
                Only positions that are valid in both samples are mixed.
        """

        def mix(level):
            partner, parts = self._parts[level]
            dtype = keras.backend.result_type(latents.dtype, "float32")
            partners = backend.take_rows(ops.cast(latents, dtype), partner)
            mixed = ops.cast(moved, dtype)
            if stops_gradient:
                mixed = ops.stop_gradient(mixed)
            for operation, share in parts:
                share = with_rank(ops.cast(share, dtype), len(moved.shape))
                moved_on = operation.mix(mixed, partners, share)
                mixed = ops.where(share > 0, moved_on, mixed)
            mixed = ops.cast(mixed, moved.dtype)
            if mask is not None:
                both = self._rows.of_members(place.members).tile_moved(mask)
                both = both & backend.take_rows(mask, partner)
                mixed = _where(both, mixed, moved)
            if stops_gradient:
                is_mixed = with_rank(_share_of_all(parts) > 0, len(moved.shape))
                mixed = ops.where(is_mixed, mixed, moved)
            return mixed

        for level in range(place.level, place.until):
            if isinstance(self.level, int):
                if level == self.level:
                    moved = mix(level)
            else:
                moved = ops.cond(
                    self.level == level,
                    lambda level=level: mix(level),
                    lambda moved=moved: moved,
                )
        return moved

    def happens(self, place):
        """Whether the drawn level is one of a layer's."""
        if isinstance(self.level, int):
            return place.level <= self.level < place.until
        return (self.level >= place.level) & (self.level < place.until)

    def is_mixed(self, before):
        """Which rows were mixed at a level below `before`, boolean `(n,)`."""
        return (self.share > 0) & (self.level < before)


def _tiled(tensor, copies):
    return None if tensor is None else backend.tile_rows(tensor, copies)


def _parts(leader, strength, draws, partner, can_mix, always):
    """The partners of a leader's rows, and each mixing operation with its shares.

    Shares are 0 where the operation does not act. Rows marked by `always` are mixed by
    the first operation."""
    parts = []
    for index, (operation, probability, magnitude) in enumerate(leader.mixing_values()):
        accept, uniform = draws[:, 2 + 2 * index], draws[:, 3 + 2 * index]
        if strength is not None:
            probability = strength * probability
        share = operation.share(_by_row(magnitude, accept), uniform)
        accepted = accept < _by_row(probability, accept)
        if always is not None and not index:
            accepted = accepted | always
        parts.append((operation, ops.where(can_mix & accepted, share, 0.0)))
    return partner, parts


def _share_of_all(parts):
    """The partner's total share after all parts.

    A second mixing moves further toward the same partner."""
    total = parts[0][1]
    for _, share in parts[1:]:
        total = total + share * (1.0 - total)
    return total


def _by_row(values, rows):
    """Repeats the values of several policies for their rows.

    The value of a single policy is returned as it is."""
    if not len(values.shape):
        return values
    return ops.repeat(values, ops.shape(rows)[0] // values.shape[0])


def _where(mask, mixed, moved):
    """Selects mixed rows at the positions of a mask, `(n, ...)`.

    Features may be flattened to one axis."""
    count = ops.shape(mask)[0]
    mask = ops.reshape(mask, (count, -1))
    shape = (count, ops.shape(mask)[1], -1)
    mixed, own = (ops.reshape(each, shape) for each in (mixed, moved))
    return ops.reshape(ops.where(mask[..., None], mixed, own), ops.shape(moved))
