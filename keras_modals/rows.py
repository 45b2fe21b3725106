"""How the rows that a head receives relate to the samples of a batch."""

from collections import namedtuple

from keras import ops

from keras_modals import backend


class RowMap(
    namedtuple(
        "RowMap",
        ["num_views", "partner", "share", "members"],
        defaults=[None, None, 1],
    )
):
    """The map from the head's rows to samples.

    Row `v * batch + i` is view `v` of sample `i`.

    Attributes:
        num_views: Integer.
        partner: int32 `(num_views * batch,)`, the sample each row was mixed with, its
            own if it was not; `None` where no operation moves labels.
        share: float32 `(num_views * batch,)`, the share of the partner's label, in
            `[0, 1]`.
        members: Of a population, the number of its members, whose views `num_views`
            are: all of the first, then all of the second, and so on.
    """

    __slots__ = ()

    def tile(self, tensor):
        """What samples have, for each row."""
        return backend.tile_rows(tensor, self.num_views)

    def tile_members(self, tensor):
        """What samples have, once for each member."""
        return backend.tile_rows(tensor, self.members)

    def of_view(self, tensor, view):
        """What rows have, for those of one view."""
        rows = ops.shape(tensor)[0] // self.num_views
        return backend.slice_rows(tensor, view * rows, rows)

    def first_views(self, tensor):
        """What rows have, for each sample's first view; of all members in turn."""
        views = self.num_views // self.members
        parts = [self.of_view(tensor, m * views) for m in range(self.members)]
        return ops.concatenate(parts) if len(parts) > 1 else parts[0]
