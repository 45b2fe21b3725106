from typing import Any

import keras
import numpy as np
from keras import ops

from keras_modals._src import backend
from keras_modals._src.arguments import check_integer
from keras_modals._src.labels.mixing import mixed, with_rank
from keras_modals._src.terms.term import Term, TermLosses

#: Default fractions of a training between which the weight grows.
RAMP = (0.4, 0.8)

#: Momentum of the averages, and the largest fraction of a training that they span.
MOMENTUM, SPAN = 0.99, 0.1

#: Default threshold of pseudo-labels, for one class of each sample or position.
THRESHOLD = 0.8

#: A number of steps that no training reaches.
_NEVER = 1e9


class Consistency(Term):
    """Learns from unlabeled samples by consistent predictions under mixing.

    The output for a mix of two unlabeled samples should equal the mix of their outputs.
    In each step, all unlabeled samples are mixed with each other, at the step's depth;
    labeled samples are mixed as usual. A teacher, the model with averaged weights,
    predicts each unmixed sample, without dropout and without gradients.

    With classes, the teacher's most likely class replaces its probabilities, samples
    for which it is not sure are ignored, and the loss is the cross-entropy
    (*pseudo-labels*). For several labels at once, the loss is the squared error between
    probabilities, summed over the two outcomes of each label and averaged over labels.
    For a regression, it is the loss that the model is compiled with.

    An unlabeled sample has the class index -1, or a row with NaN or -1; in a
    regression, its target is NaN. It counts neither in the task's loss nor in metrics.
    `keras_modals.join_unlabeled` creates batches of labeled and unlabeled samples.

    The averaged weights are those of the model's optimizer, for which `use_ema=True` is
    set if needed. As usual in Keras, the model has these weights after `fit`. To
    validate with them, put `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` before
    other callbacks.

    Args:
        weight: Non-negative float.
        threshold: Float in `(0, 1)`, the probability above which the teacher is sure of
            a class, or of each of several labels; or `None`, for the squared error
            between probabilities, summed over classes. Defaults to `"auto"`: 0.8 with
            classes, `None` with several labels or a regression.
        ramp_steps: Pair of integers, the optimizer steps between which the weight grows
            from 0. Before them, the term has no effect. Defaults to `None`: from 40%
            to 80% of the steps of `fit`; with `train_on_batch` alone, the weight is
            constant.
        ema_momentum: Float in `[0, 1)`, the momentum of the averages, unless the
            optimizer has `use_ema=True` with its own. Defaults to `None`: 0.99, or less
            if `fit` is short, so that averages span at most a tenth of its steps.

    References:

    - [Verma et al., 2019](https://arxiv.org/abs/1903.03825)
    - [Tarvainen and Valpola, 2017](https://arxiv.org/abs/1703.01780)

    Example:

    >>> model = keras_modals.augment(keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(4),
    ...     keras.layers.Dense(3, "softmax"),
    ... ]))
    >>> model.compile(
    ...     "adam",
    ...     "sparse_categorical_crossentropy",
    ...     metrics=["accuracy"],
    ...     terms=[keras_modals.Consistency(3.0)],
    ... )
    >>> x, y = np.random.normal(size=(60, 8)), np.arange(60) % 3
    >>> data = keras_modals.join_unlabeled((x[:20], y[:20]), x[20:], batch_size=10)
    >>> history = model.fit(data, verbose=0)
    """

    kind = "consistency"
    needs_groups = False
    reads_latents = False
    reads_unlabeled = True

    def __init__(
        self, weight=0.0, threshold="auto", ramp_steps=None, ema_momentum=None
    ):
        super().__init__(weight)
        is_number = threshold is not None and not isinstance(threshold, str)
        if not (0 < threshold < 1 if is_number else threshold in (None, "auto")):
            raise ValueError(
                "Invalid value received for argument `threshold`. Expected a float in "
                f'(0, 1), `None` or "auto". Received: threshold={threshold!r}'
            )
        if ema_momentum is not None and not 0 <= ema_momentum < 1:
            raise ValueError(
                "Invalid value received for argument `ema_momentum`. Expected a float "
                f"in [0, 1), or `None`. Received: ema_momentum={ema_momentum!r}"
            )
        self.threshold, self.ramp_steps = threshold, _checked(ramp_steps)
        self.ema_momentum = ema_momentum
        # That of the model's labels.
        self._threshold: Any = None
        self.ramp: Any = None

    def build(self, num_features):
        super().build(num_features)
        if self.ramp is None:
            self.ramp = keras.Variable(
                np.array(self.ramp_steps or (0, 0), "float32"),
                dtype="float32",
                trainable=False,
                autocast=False,
                name="consistency_ramp",
            )

    def prepare(self, model):
        labels = model.latent_augmentation.labels
        self._threshold = self.threshold
        if self.threshold == "auto":
            has_classes = not (labels.num_bins or labels.are_several)
            self._threshold = THRESHOLD if has_classes else None
        if self._threshold is not None and labels.num_bins:
            raise ValueError(
                "Pseudo-labels need classes: leave `threshold` out for a regression. "
                f"Received: threshold={self.threshold}"
            )
        if model.gives_logits is None and not labels.num_bins:
            raise ValueError(
                "Cannot infer whether the output is probabilities or logits: end the "
                "model in a layer with a softmax or sigmoid activation, or compile "
                f"with a Keras loss. Received: loss={model.loss!r}"
            )
        super().prepare(model)
        self._average_weights(model)

    def _average_weights(self, model):
        """Makes the optimizer keep averages of the weights, if it does not."""
        optimizer = _inner(model.optimizer)
        if hasattr(optimizer, "optimizers"):
            raise ValueError(
                "The averaged weights need a single optimizer: compile with one Keras "
                f"optimizer instead of several. Received: optimizer={optimizer!r}"
            )
        self._has_own_averages = not optimizer.use_ema
        if not optimizer.use_ema:
            if optimizer.built:
                raise ValueError(
                    "The optimizer keeps the averaged weights, but it has been used "
                    "without them: compile with a new one, or with `use_ema=True`. "
                    f"Received: optimizer={optimizer.name!r}"
                )
            momentum = MOMENTUM if self.ema_momentum is None else self.ema_momentum
            optimizer.use_ema, optimizer.ema_momentum = True, momentum
        if not optimizer.built:
            model.optimizer.build(model.trainable_variables)
        averages = averaged_weights(model)
        for average, variable in zip(averages, model.trainable_variables, strict=True):
            average.assign(ops.copy(variable))

    def begin_fit(self, num_steps, done):
        """Sets the ramp and the momentum of averages from the length of the training.

        Args:
            num_steps: The total number of optimizer steps; `None` if not yet known.
            done: The number of steps already done.
        """
        model = self._model()
        optimizer = _inner(model.optimizer)
        if self.ramp_steps is None:
            if num_steps is not None:
                self.ramp.assign(np.array(RAMP, "float32") * num_steps)
            elif not done:
                # Until the length is known.
                self.ramp.assign(np.full(2, _NEVER, "float32"))
        is_ours = self._has_own_averages and self.ema_momentum is None
        if is_ours and num_steps is not None and not done:
            # Only before a step is traced.
            most = 1.0 - 1.0 / max(SPAN * num_steps, 1.0)
            optimizer.ema_momentum = min(MOMENTUM, most)
        # Weights may have been loaded since. After a `fit`, Keras gives the weights the
        # arrays of the averages; on JAX each needs its own.
        averages = averaged_weights(model)
        sources = averages if done else model.trainable_variables
        for average, source in zip(averages, sources, strict=True):
            average.assign(ops.copy(source))

    @property
    def waits_for_length(self):
        return float(ops.convert_to_numpy(self.ramp)[0]) == _NEVER

    def losses_of_step(self, step):
        model = self._model()
        labels = model.latent_augmentation.labels
        averages = [average.value for average in averaged_weights(model)]
        expected = ops.stop_gradient(model.outputs_with(averages, step.inputs))
        is_number = bool(labels.num_bins)
        expected = labels.says(expected, model.gives_logits)
        weights = ops.cast(step.unlabeled, "float32")
        if self._threshold is not None:
            expected, is_sure = self._pseudo_labels(expected, labels)
            weights = weights * is_sure
        expected, weights = self._mixed(expected, weights, step)
        if is_number:
            errors = model.sample_losses(expected, labels.says(step.outputs))
        else:
            said = labels.says(step.outputs, model.gives_logits)
            if self._threshold is None:
                errors = labels.squared_error(said, expected)
            else:
                errors = labels.cross_entropy(said, expected)
        weights = ops.reshape(weights, ops.shape(errors))
        total = ops.maximum(ops.sum(weights), 1.0)
        loss = ops.sum(ops.where(weights > 0, errors, 0.0) * weights) / total
        logs = {"consistency_loss": loss, "count": ops.sum(weights)}
        return TermLosses(self._grown() * loss, logs=logs)

    def _grown(self):
        """The fraction of the weight in this step.

        Before the ramp it is exactly 0. Optimizers such as Adam make full steps even
        for tiny gradients, so variables trained only by unlabeled samples, such as
        embeddings of rare words, would follow the guesses of an untrained teacher."""
        start, end = ops.unstack(ops.convert_to_tensor(self.ramp))
        steps = ops.cast(self._model().optimizer.iterations, "float32") - start
        return ops.where(
            end > start,
            ops.clip(steps / ops.maximum(end - start, 1.0), 0.0, 1.0),
            ops.cast(steps >= 0, "float32"),
        )

    def update_metrics(self, logs, clean, num_scored):
        self.metrics[0].update_state(logs["consistency_loss"], logs["count"])

    def _pseudo_labels(self, expected, labels):
        """The teacher's most likely labels, and whether it is sure of them."""
        if labels.are_several:
            likely = ops.maximum(expected, 1.0 - expected)
            likely = ops.min(likely, axis=-1)
            hard = ops.cast(expected > 0.5, "float32")
        else:
            likely = ops.max(expected, axis=-1)
            hard = ops.one_hot(
                ops.argmax(expected, axis=-1), expected.shape[-1], dtype="float32"
            )
        return hard, ops.cast(likely > self._threshold, "float32")

    def _mixed(self, expected, weights, step):
        """The expected output of each of the head's rows, and its weight."""
        rows = step.rows
        own, own_weights = rows.tile(expected), rows.tile(weights)
        if rows.partner is None:
            return own, own_weights
        partner = backend.take_rows(expected, rows.partner)
        both = mixed(own, partner, rows.share)
        of_both = own_weights
        if self._threshold is not None:
            is_mixed = with_rank(rows.share > 0, len(weights.shape))
            of_partner = backend.take_rows(weights, rows.partner)
            of_both = ops.where(is_mixed, own_weights * of_partner, own_weights)
        if step.mask is None:
            return both, of_both
        # Positions that are valid in only one of the two are not mixed.
        valid = rows.tile(step.mask) & backend.take_rows(step.mask, rows.partner)
        both = ops.where(with_rank(valid, len(both.shape)), both, own)
        if self._threshold is not None:
            of_both = ops.where(valid, of_both, own_weights)
        return both, of_both

    @property
    def variables(self):
        return [*super().variables, self.ramp]

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "ramp_steps": self.ramp_steps,
            "ema_momentum": self.ema_momentum,
        }


def _checked(ramp_steps):
    """Returns a pair of ordered integers, or `None`."""
    if ramp_steps is None:
        return None
    try:
        start, end = (check_integer("ramp_steps", step, 0) for step in ramp_steps)
    except (TypeError, ValueError):
        start, end = 1, 0
    if start > end:
        raise ValueError(
            "Invalid value received for argument `ramp_steps`. Expected a pair of "
            "integers, the first and last step of the weight's growth, or `None`. "
            f"Received: ramp_steps={ramp_steps!r}"
        )
    return start, end


def _inner(optimizer):
    """The optimizer inside a loss-scaling optimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averaged_weights(model):
    """The optimizer's averages of a model's trainable variables."""
    averages = [v for v in model.optimizer.variables if v.name.endswith("_average")]
    count = len(model.trainable_variables)
    if len(averages) != count:
        raise ValueError(
            "The optimizer must have one average for each trainable variable. After "
            "changing which variables are trainable, compile again with a new "
            f"optimizer. Received: {len(averages)} averages of {count} variables"
        )
    return averages
