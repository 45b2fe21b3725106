"""Mapping between the rows that a head receives and the samples of a batch."""

from collections import namedtuple

from keras import ops

from keras_modals._src import backend


class RowMap(
    namedtuple(
        "RowMap",
        ["batch", "num_views", "has_clean_view", "members", "partner", "share"],
        defaults=[1, False, 1, None, None],
    )
):
    """Maps the head's rows to samples. Created once per training step.

    Row `(m * num_views + v) * batch + i` is view `v` of sample `i` for member `m`.

    Attributes:
        batch: Integer, the number of samples.
        num_views: Integer, the number of rows per sample and population member.
        has_clean_view: Whether the first view is left unmoved.
        members: Integer, the number of members of a population.
        partner: int32 `(rows,)`, the sample each row was mixed with, or its own sample
            if it was not mixed; `None` if no operation moves labels.
        share: float32 `(rows,)`, the share of the partner's label, in `[0, 1]`.
    """

    __slots__ = ()

    @property
    def copies(self):
        """The number of rows per sample."""
        return self.members * self.num_views

    @property
    def moved_copies(self):
        """The number of rows per sample that may be moved."""
        return self.members * (self.num_views - self.has_clean_view)

    def of_members(self, members):
        """Returns the map of a layer that members share, for the first `members`."""
        if members == self.members:
            return self
        of_one = self.num_views * self.batch
        partner, share = (
            None if each is None else each[: members * of_one]
            for each in (self.partner, self.share)
        )
        return self._replace(members=members, partner=partner, share=share)

    def tile(self, tensor):
        """Repeats per-sample values for every row."""
        return _tile(tensor, self.copies)

    def tile_moved(self, tensor):
        """Repeats per-sample values for every row that may be moved."""
        return _tile(tensor, self.moved_copies)

    def movable(self, rows):
        """Selects the movable rows of one member and repeats them for every member."""
        if self.has_clean_view:
            rows = rows[self.batch :]
        return self.tile_members(rows)

    def tile_members(self, tensor):
        """Repeats per-sample values once per member."""
        return _tile(tensor, self.members)

    def join(self, clean, moved):
        """Joins each member's clean rows with its movable rows."""
        if self.members == 1:
            return ops.concatenate([clean, moved])
        parts = [self.by_member(tensor) for tensor in (clean, moved)]
        rows = ops.concatenate(parts, axis=1)
        return ops.reshape(rows, (-1, *rows.shape[2:]))

    def by_member(self, tensor):
        """Adds a leading member axis to per-row values."""
        return ops.reshape(tensor, (self.members, -1, *tensor.shape[1:]))

    def mixed(self, partner, share):
        """Returns the map with the partners and shares of the movable rows."""
        own = ops.arange(self.batch, dtype="int32")
        # A loss that counts valid labels must count partners of mixed rows only.
        partner = ops.where(share > 0, partner, self.tile_moved(own))
        if self.has_clean_view:
            unmixed = ops.zeros((self.batch,), share.dtype)
            partner = self.join(self.tile_members(own), partner)
            share = self.join(self.tile_members(unmixed), share)
        return self._replace(partner=partner, share=share)

    def of_view(self, tensor, view):
        """Selects the rows of one view."""
        rows = ops.shape(tensor)[0] // self.copies
        return backend.slice_rows(tensor, view * rows, rows)

    def first_views(self, tensor):
        """Selects each sample's first view, one member after the other."""
        parts = [self.of_view(tensor, m * self.num_views) for m in range(self.members)]
        return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _tile(tensor, copies):
    return tensor if copies == 1 else backend.tile_rows(tensor, copies)
