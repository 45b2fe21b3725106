"""Report on the labels of an epoch, since streams cannot be checked before."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_modals._src.labels.classes import HINGE
from keras_modals._src.labels.labels import SAMPLES, STEPS, WITHOUT_LABEL, WRONG


class LabelReport(keras.callbacks.Callback):
    """Logs the share of samples without a class, if there are any.

    Also warns once about wrong labels, unused samples, and batches of one sample, in
    which nothing can be mixed.

    Args:
        model: The `ModalsModel`, which counts labels in its `label_counts`.
    """

    def __init__(self, model):
        super().__init__()
        self._counting = model

    def on_epoch_begin(self, epoch, logs=None):
        counts = self._counting.label_counts
        counts.assign(np.zeros(counts.shape, "int32"))

    def on_epoch_end(self, epoch, logs=None):
        model = self._counting
        counts = ops.convert_to_numpy(model.label_counts)
        if counts[WITHOUT_LABEL] and logs is not None:
            logs["ignored_labels"] = float(counts[WITHOUT_LABEL] / counts[SAMPLES])
        if model.has_reported_labels or not counts[STEPS]:
            return
        model.has_reported_labels = True
        if counts[WRONG]:
            warnings.warn(
                f"{counts[WRONG]} of {counts[SAMPLES]} samples of the first epoch "
                f"({counts[WRONG] / counts[SAMPLES]:.1%}) were not augmented, because "
                + model.latent_augmentation.labels.what_is_wrong,
                stacklevel=2,
            )
        left_alone = counts[WITHOUT_LABEL] - counts[WRONG]
        if left_alone and model.has_unused:
            warnings.warn(
                f"{left_alone} of {counts[SAMPLES]} samples of the first epoch have no "
                "label and were not used. See 'Few labels, many samples' in the "
                "documentation for how to learn from them.",
                stacklevel=2,
            )
        if left_alone and model.has_uncounted:
            warnings.warn(
                f"{left_alone} of {counts[SAMPLES]} samples of the first epoch have "
                "the label -1. The loss counts them, but they were not augmented. "
                f"{HINGE} A sample without a label needs a loss that ignores it: "
                "`SparseCategoricalCrossentropy(ignore_class=-1)`.",
                stacklevel=2,
            )
        if counts[STEPS] == counts[SAMPLES] and model.mixes_classes:
            warnings.warn(
                "Every batch of the first epoch had one sample, so there was nothing "
                "to mix it with and `class_mixing` did nothing. Train with batches of "
                "at least 2.",
                stacklevel=2,
            )
