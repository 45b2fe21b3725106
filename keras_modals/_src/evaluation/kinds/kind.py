import numpy as np
from keras import ops

from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.label_output import LabelOutput


class Kind:
    """What a comparison needs to know of a kind of labels: the base class.

    Args:
        labels: The `keras_modals` labels that the model learns.
        shape: The shape of the model's output.
        ignored: Labels that the model's loss ignores.

    Attributes:
        scores: Dict from name to `fn(targets, predictions)`, of what `scored` returns.
            The first is compared where no other is asked for.
        has_accuracy: Whether the best epoch is that of the best accuracy, where there
            is one.
        output: The `LabelOutput`.
        has_numbers: Whether targets are numbers, of which some are near others.
    """

    scores: dict
    output = LabelOutput()
    has_accuracy = False
    has_numbers = False

    def __init__(self, labels, shape, ignored=()):
        self.labels, self.shape, self.ignored = labels, shape, ignored

    @property
    def metric(self):
        return next(iter(self.scores))

    def check(self, targets):
        """Refuses an array of targets that the model cannot learn."""
        self.labels.check(targets, self.ignored)

    def groups(self, targets):
        """The group of each label, a NumPy array; -1 for none."""
        groups = self.labels.groups(np.asarray(targets), self.ignored)
        return ops.convert_to_numpy(groups)

    # Scores -------------------------------------------------------------------

    def all_scores(self, targets, outputs, from_logits=False):
        """Dict of every score.

        Args:
            targets: As they are in the data.
            outputs: The model's, NumPy.
            from_logits: Whether these are logits, where they could be probabilities.
        """
        pair = self.scored(np.asarray(targets), np.asarray(outputs), from_logits)
        return {name: float(score(*pair)) for name, score in self.scores.items()}

    def scored(self, targets, outputs, from_logits):
        """Pair of targets and predictions in the form that scores take, of what has a
        label."""
        raise NotImplementedError

    # Data ---------------------------------------------------------------------

    def split(self, targets, shares, seed):
        """Indices of the training, validation and test samples.

        Args:
            targets: Of all samples.
            shares: Those of validation and test samples.
            seed: Integer.
        """
        raise NotImplementedError

    # Remedies -----------------------------------------------------------------

    def weights(self, targets):
        """Arguments of `fit` that weigh what is rare more."""
        raise NotApplicableError("needs classes, or labels, that can be rare")

    def repeated(self, targets, rng):
        """Indices of samples, those with what is rare several times."""
        raise NotApplicableError("needs classes, or labels, that can be rare")

    def compile_for_shares(self, model):
        """Compiles a model anew for what `shares` returns."""
        raise NotApplicableError(
            "needs one class, or several labels at once, for each sample"
        )

    def shares(self, targets, smoothing=0.0):
        """Targets as shares, of which each label has some."""
        raise NotImplementedError


def check_probabilities(outputs):
    finite = outputs[np.isfinite(outputs)]
    if finite.size and not -1e-3 < finite.min() <= finite.max() < 1 + 1e-3:
        raise ValueError(
            "The outputs of `build_fn`'s model are not probabilities. Let it end in a "
            "softmax, or a sigmoid, or its loss have `from_logits=True`. Received: "
            f"outputs between {finite.min():.3g} and {finite.max():.3g}"
        )
