"""How the rows that a head receives relate to the samples of a batch."""

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
    """The map from the head's rows to samples, made once for each training step.

    Row `(m * num_views + v) * batch + i` is view `v` of sample `i` for member `m`.

    Attributes:
        batch: Integer, the number of samples.
        num_views: Integer, how many rows each member of a population has of a sample.
        has_clean_view: Whether the first of them is not moved.
        members: Of a population, the number of its members.
        partner: int32 `(rows,)`, the sample each row was mixed with, its own if it was
            not; `None` where no operation moves labels.
        share: float32 `(rows,)`, the share of the partner's label, in `[0, 1]`.
    """

    __slots__ = ()

    @property
    def copies(self):
        """How many rows there are of a sample."""
        return self.members * self.num_views

    @property
    def moved_copies(self):
        """How many of them may be moved."""
        return self.members * (self.num_views - self.has_clean_view)

    def of_members(self, members):
        """The map of a layer for the first members, whom others share it with."""
        if members == self.members:
            return self
        of_one = self.num_views * self.batch
        partner, share = (
            None if each is None else each[: members * of_one]
            for each in (self.partner, self.share)
        )
        return self._replace(members=members, partner=partner, share=share)

    def tile(self, tensor):
        """What samples have, for each row."""
        return _tile(tensor, self.copies)

    def tile_moved(self, tensor):
        """What samples have, for each row that may be moved."""
        return _tile(tensor, self.moved_copies)

    def movable(self, rows):
        """Of one member's rows those that may be moved, for each member."""
        if self.has_clean_view:
            rows = rows[self.batch :]
        return self.tile_members(rows)

    def tile_members(self, tensor):
        """What samples have, once for each member."""
        return _tile(tensor, self.members)

    def join(self, clean, moved):
        """All rows, of each member's clean ones and those that may be moved."""
        if self.members == 1:
            return ops.concatenate([clean, moved])
        parts = [self.by_member(tensor) for tensor in (clean, moved)]
        rows = ops.concatenate(parts, axis=1)
        return ops.reshape(rows, (-1, *rows.shape[2:]))

    def by_member(self, tensor):
        """What rows have, with a first axis for members."""
        return ops.reshape(tensor, (self.members, -1, *tensor.shape[1:]))

    def mixed(self, partner, share):
        """The map with partners and shares of the rows that may be moved."""
        own = ops.arange(self.batch, dtype="int32")
        # A loss that counts valid labels must count those of what is mixed only.
        partner = ops.where(share > 0, partner, self.tile_moved(own))
        if self.has_clean_view:
            unmixed = ops.zeros((self.batch,), share.dtype)
            partner = self.join(self.tile_members(own), partner)
            share = self.join(self.tile_members(unmixed), share)
        return self._replace(partner=partner, share=share)

    def of_view(self, tensor, view):
        """What rows have, for those of one view."""
        rows = ops.shape(tensor)[0] // self.copies
        return backend.slice_rows(tensor, view * rows, rows)

    def first_views(self, tensor):
        """What rows have, for each sample's first view; of all members in turn."""
        parts = [self.of_view(tensor, m * self.num_views) for m in range(self.members)]
        return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _tile(tensor, copies):
    return tensor if copies == 1 else backend.tile_rows(tensor, copies)
