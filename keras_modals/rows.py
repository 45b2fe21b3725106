"""How the rows that a head receives relate to the samples of a batch."""

from collections import namedtuple

from keras import ops

from keras_modals import backend


class RowMap(
    namedtuple(
        "RowMap",
        ["num_views", "partner", "share", "view_weight", "members"],
        defaults=[None, None, None, 1],
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
        view_weight: float32 `(num_views,)`, weights of mean 1 for the views' losses, or
            `None` where all are alike.
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

    def weigh_views(self, tensor):
        """Rows' weights, times those of their views."""
        by_view = ops.reshape(ops.cast(tensor, "float32"), (self.num_views, -1))
        by_view = by_view * self.view_weight[:, None]
        return ops.reshape(by_view, ops.shape(tensor))
