import numpy as np
from keras import ops

from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.evaluation.label_output import LabelOutput


class Kind:
    """Base class of the kinds of labels that a comparison supports.

    Args:
        labels: The `keras_modals` labels that the model learns.
        shape: The shape of the model's output.
        ignored: Labels that the model's loss ignores.

    Attributes:
        scores: Dict from names to `fn(targets, predictions)`, for the pair that
            `scored` returns. The first one is the default.
        has_accuracy: Boolean, whether the best epoch is chosen by accuracy, if the
            model has one.
        output: The `LabelOutput`.
        losses: Names of the losses that the output is compiled with.
        has_numbers: Boolean, whether targets are numbers, with distances between them.
    """

    scores: dict
    output = LabelOutput()
    losses: tuple = ()
    has_accuracy = False
    has_numbers = False

    def __init__(self, labels, shape, ignored=()):
        self.labels, self.shape, self.ignored = labels, shape, ignored

    @property
    def metric(self):
        return next(iter(self.scores))

    def check(self, targets):
        """Refuses targets that the model cannot learn."""
        self.labels.check(targets, self.ignored)

    def groups(self, targets):
        """Returns the group of each label as a NumPy array, with -1 for no group."""
        groups = self.labels.groups(np.asarray(targets), self.ignored)
        return ops.convert_to_numpy(groups)

    # Scores -------------------------------------------------------------------

    def all_scores(self, targets, outputs, from_logits=False):
        """Returns a dict of all scores.

        Args:
            targets: The targets in the format of the data.
            outputs: NumPy array, the outputs of the model.
            from_logits: Boolean, whether the outputs are logits, not probabilities.
        """
        pair = self.scored(np.asarray(targets), np.asarray(outputs), from_logits)
        return {name: float(score(*pair)) for name, score in self.scores.items()}

    def scored(self, targets, outputs, from_logits):
        """Returns a pair of targets and predictions in the format of the scores,
        restricted to samples or positions with a label."""
        raise NotImplementedError

    # Data ---------------------------------------------------------------------

    def split(self, targets, shares, seed):
        """Returns the indices of the training, validation and test samples.

        Args:
            targets: The targets of all samples.
            shares: Pair of floats, the shares of validation and test samples.
            seed: Integer.
        """
        raise NotImplementedError

    # Remedies -----------------------------------------------------------------

    def weights(self, targets):
        """Returns arguments of `fit` that give rare labels a larger weight."""
        raise NotApplicableError("needs classes, or labels, that can be rare")

    def repeated(self, targets, rng):
        """Returns indices of samples, with samples of rare labels repeated."""
        raise NotApplicableError("needs classes, or labels, that can be rare")

    def compile_for_shares(self, model):
        """Compiles a model again for the targets that `shares` returns."""
        raise NotApplicableError(
            "needs one class, or several labels at once, for each sample"
        )

    def shares(self, targets, smoothing=0.0):
        """Returns targets as shares of the labels, optionally smoothed."""
        raise NotImplementedError


def check_probabilities(outputs):
    finite = outputs[np.isfinite(outputs)]
    if finite.size and not -1e-3 < finite.min() <= finite.max() < 1 + 1e-3:
        raise ValueError(
            "The outputs of the model from `build_fn` are not probabilities. End it in "
            "a softmax or a sigmoid, or use a loss with `from_logits=True`. Received: "
            f"outputs between {finite.min():.3g} and {finite.max():.3g}"
        )
