"""What the targets of a task say: the one place that reads them.

Inside, a sample has a group, an int32 index: the memory keeps latents of each, and the
triplet loss tells them apart. `IGNORED` is that of a sample without a label, which is
left alone and enters no memory.
"""

from keras_modals._src.labels.classes import Classes
from keras_modals._src.labels.labels import IGNORED, Labels

__all__ = ["IGNORED", "Classes", "Labels"]
