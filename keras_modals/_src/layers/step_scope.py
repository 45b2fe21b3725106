"""How labels reach a layer during a training step, and clean latents leave it.

The train step opens a scope around the model's call; the layer looks it up. Scopes
are thread-local, since distribution strategies run replicas in threads.
"""

import threading

_local = threading.local()


class StepScope:
    """One training step of one replica.

    Args:
        labels: int32 class indices of shape `(batch,)`.
        rows: The `RowMap` of the step; `None` at inference.

    Attributes:
        labels: The labels that the layer used: as given, or passed to it by hand.
        layer: The `LatentAugmentation` that ran in this scope, or `None`.
        latents: Its clean latents, `(batch, features)`.
        rows: The `RowMap`, with partners and shares once the layer has run.
        member_outputs: What each head of a population says, at inference.
    """

    def __init__(self, labels, rows=None):
        self.labels = labels
        self.rows = rows
        self.layer = None
        self.latents = None
        self.member_outputs = None

    def record(self, layer, latents, labels):
        """Called by the layer that augments in this step, before it does."""
        if self.layer is not None:
            raise ValueError(
                f"The layer '{layer.name}' was called twice in one training step. Use "
                "it once, where the latents are."
            )
        self.layer, self.latents, self.labels = layer, latents, labels

    def __enter__(self):
        self._outer = current_scope()
        _local.scope = self
        return self

    def __exit__(self, *_):
        _local.scope = self._outer


def current_scope():
    """The innermost open `StepScope` of this thread, or `None`."""
    return getattr(_local, "scope", None)
