"""Targets, predictions, weights, and losses by output, in the user's structures."""

import keras
from keras import ops

from keras_modals._src.labels.mixing import with_rank
from keras_modals._src.training.losses import scores_positions
from keras_modals._src.training.masks import with_mask


def output_names(model):
    """Names of a model's outputs: the keys of a dict, else Keras's output names."""
    if isinstance(model.output, dict):
        return list(model.output)
    return list(model.output_names)


def check_outputs(model):
    """Raises if outputs share a name or are in nested structures."""
    outputs = model.output
    entries = list(outputs.values()) if isinstance(outputs, dict) else outputs
    flat = entries if isinstance(entries, (list, tuple)) else [entries]
    names = output_names(model)
    nested = any(isinstance(entry, (dict, list, tuple)) for entry in flat)
    if nested or len(set(names)) < len(names):
        raise ValueError(
            "The outputs of a `ModalsModel` must be one tensor, or a list or dict of "
            "tensors from different layers. Give each an `Identity` layer with a name. "
            f"Received: outputs {names}" + " in a nested structure" * nested
        )


def check_metrics(metrics, outputs, shape):
    """Raises if metrics of the label output would count unlabeled samples.

    Args:
        metrics: The `metrics` of `compile`, which sample weights do not reach.
        outputs: The model's `Outputs`.
        shape: Tuple, the shape of the label output.
    """
    if isinstance(metrics, dict):
        metrics = metrics.get(outputs.label)
    elif isinstance(metrics, (list, tuple)) and len(metrics) == len(outputs.names) > 1:
        metrics = dict(zip(outputs.names, metrics, strict=True))[outputs.label]
    for metric in keras.tree.flatten(metrics):
        if isinstance(metric, str) and metric not in ("acc", "accuracy"):
            metric = keras.metrics.get(metric)
        wrapper = keras.metrics.MeanMetricWrapper
        update = getattr(type(metric), "update_state", None)
        if isinstance(metric, keras.metrics.Metric) and (
            update is not wrapper.update_state
        ):
            raise ValueError(
                f"The metric '{metric.name}' would count unlabeled samples. Pass it to "
                "`compile` in `weighted_metrics`, where their weight is 0. "
                f"Received: metrics={metrics}"
            )
        is_function = callable(metric) and not isinstance(metric, keras.metrics.Metric)
        if is_function and _gives_one_number(metric, shape):
            raise ValueError(
                "A metric must return one number for each sample, so that unlabeled "
                "ones can be left out, but this function returns one for the batch. "
                f"Received: metrics={metrics}"
            )


def _gives_one_number(metric, shape):
    """Whether a function of targets and predictions returns a scalar for a batch."""
    shape = (2, *(2 if size is None else size for size in shape[1:]))
    predictions = ops.zeros(shape)
    for targets in (predictions, ops.zeros(shape[:-1], "int32")):
        try:
            return len(ops.shape(metric(targets, predictions))) == 0
        except Exception:
            continue
    return False


class Outputs:
    """The outputs of a `ModalsModel` by name, with their compiled losses.

    Attributes:
        names: List of the outputs' names.
        label: Name of the output whose targets are the labels.
        losses: Dict from name to the list of the output's losses, once compiled.
        augmented: List of the names of the outputs whose rows the step multiplies or
            mixes.
    """

    def __init__(self, names, label, augmented):
        self.names, self.label, self.augmented = names, label, augmented
        self.losses: dict[str, list] = {name: [] for name in names}
        # Outputs of positions with one channel, whose axis targets may lack.
        self._ranks: dict[str, int] = {}

    def compile(self, loss, output=None):
        """Sets the losses that a model was compiled with.

        Args:
            loss: As given to `compile`.
            output: The model's output, to fill in the axis of one channel that targets
                of positions may lack.
        """
        if isinstance(loss, (list, tuple)) and len(loss) == len(self.names):
            loss = dict(zip(self.names, loss, strict=True))
        by_name = loss if isinstance(loss, dict) else dict.fromkeys(self.names, loss)
        for name in self.names:
            losses = keras.tree.flatten(by_name.get(name))
            self.losses[name] = [each for each in losses if each is not None]
        if output is None:
            return
        shapes = {
            name: each.shape for name, each in by_output(output, self.names).items()
        }
        self._ranks = {
            name: len(shapes[name])
            for name, losses in self.losses.items()
            if losses and all(scores_positions(each, shapes[name]) for each in losses)
        }

    def target_names(self, y):
        """Names of the outputs that have targets.

        As in Keras, a list may leave out outputs without a loss."""
        if isinstance(y, dict):
            return [name for name in self.names if name in y]
        if isinstance(y, (list, tuple)) and len(y) != len(self.names):
            return [name for name in self.names if self.losses[name]]
        return self.names

    def targets(self, y):
        """Dict from name to targets, for the outputs that have targets.

        Targets of positions get the axis of the output's one channel, if they lack it,
        so that every position has its own loss."""
        targets = by_output(y, self.target_names(y))
        for name, rank in self._ranks.items():
            target = targets.get(name)
            if target is not None and len(target.shape) + 1 == rank:
                # On arrays of all samples, this is a view.
                targets[name] = target[..., None]
        return targets

    def masked(self, y_pred, unlabeled):
        """Masks the label output's predictions where labels are missing."""
        predictions = by_output(y_pred, self.names)
        known = ops.logical_not(unlabeled)
        predictions[self.label] = _masked(predictions[self.label], known)
        return _like(y_pred, predictions)

    def labels(self, targets):
        """Selects the labels from targets by output."""
        labels = targets.get(self.label)
        if labels is None:
            raise ValueError(
                f"There are no labels for the output '{self.label}'. "
                f"Received: targets for {list(targets)}"
            )
        return labels


class StepData:
    """Targets, predictions, and weights of a step, by output and as given.

    Args:
        outputs: The model's `Outputs`.
        targets: The result of `Outputs.targets(y)`.
        y, y_pred, sample_weight: Structures as given.
        unlabeled: Boolean `(batch,)`, or `(batch, ...)` for each position, `True` for
            labels that must count neither in losses nor in metrics; `None` for none.
        rows: The `RowMap` of the step.

    Attributes:
        given: `(y, y_pred, sample_weight)`, without those labels.
        entries: Dict from output name to a triple of its targets, predictions, and
            weights, each possibly `None`.
    """

    def __init__(
        self, outputs, targets, y, y_pred, sample_weight, unlabeled=None, rows=None
    ):
        self.outputs = outputs
        self._target_names = list(targets)
        self.given = y, y_pred, sample_weight
        #: The outputs with labels that are left out.
        self.masked = [] if unlabeled is None else [outputs.label]
        predictions = by_output(y_pred, outputs.names)
        weights = by_output(sample_weight, outputs.names)
        self.entries = {
            name: (targets.get(name), predictions[name], weights[name])
            for name in outputs.names
        }
        if unlabeled is not None:
            label = self.entries[outputs.label]
            self.entries[outputs.label] = _without(unlabeled, rows, *label)
            self.given = self.like(self.entries)

    def like(self, entries, keep_weights=False):
        """Packs other entries as `(y, y_pred, sample_weight)`, in the given structures.

        Weights get the structure of predictions, unless they keep their own."""
        y, y_pred, sample_weight = self.given
        targets, predictions, weights = (
            {name: triple[index] for name, triple in entries.items()}
            for index in range(3)
        )
        if not keep_weights and any(each is not None for each in weights.values()):
            sample_weight = _like(y_pred, weights)
        elif sample_weight is not None:
            sample_weight = _like(sample_weight, weights)
        targets = {name: targets[name] for name in self._target_names}
        return _like(y, targets), _like(y_pred, predictions), sample_weight


def _without(unlabeled, rows, target, prediction, weight):
    """An output's entries with missing labels left out.

    They get a target of 0, which any loss accepts, a weight of 0, and a mask of the
    predictions."""
    known = ops.logical_not(unlabeled)
    target = ops.convert_to_tensor(target)
    is_known = with_rank(known, len(target.shape))
    target = ops.where(is_known, target, ops.zeros_like(target))
    counts = ops.cast(known, "float32")
    if weight is not None:
        rank = max(len(known.shape), len(weight.shape))
        counts = with_rank(counts, rank) * with_rank(ops.cast(weight, "float32"), rank)
    return target, _masked(prediction, rows.tile(known)), counts


def _masked(prediction, known):
    """Masks predictions, with a mask of the rank of their unreduced loss."""
    rank = max(len(known.shape), len(prediction.shape) - 1)
    return with_mask(prediction, with_rank(known, rank))


def by_output(structure, names):
    """Dict from output name to its entry in `structure`; `None` if absent.

    A tensor, or `None`, is the entry of every output.
    """
    if isinstance(structure, dict):
        return {name: structure.get(name) for name in names}
    if isinstance(structure, (list, tuple)):
        return dict(zip(names, structure, strict=True))
    return dict.fromkeys(names, structure)


def _like(structure, entries):
    """The inverse of `by_output`: a structure as given, with other entries."""
    if isinstance(structure, dict):
        return {name: entries.get(name, entry) for name, entry in structure.items()}
    values = list(entries.values())
    return values if isinstance(structure, (list, tuple)) else values[0]
