import numbers
import os
from collections import namedtuple
from collections.abc import Mapping

from keras_modals._src.arguments import BOUNDS, check_bounds, shown
from keras_modals._src.policies import files
from keras_modals._src.policies.policy import Policy

Segment = namedtuple("Segment", ["epochs", "policy", "values"])

MOST_EPOCHS = 10**9

#: The file of a member's schedule, in a checkpoint of Ray Tune.
SCHEDULE_FILE = "schedule.json"


class PolicySchedule:
    """Which policy holds in which epochs. An immutable value.

    What a population-based search finds, and what `PolicyScheduler` trains with. A
    schedule has segments of some epochs each; it is stretched, in proportion, to a
    training of another length.

    Args:
        segments: Sequence of `(epochs, policy)` or `(epochs, policy, values)`: a
            positive integer, a `Policy`, or a sequence of one for each
            `LatentAugmentation` of a model (those of all segments must have the same
            operations), and a mapping from the names of other numbers to their
            values: `"triplet_weight"`, `"prior_weight"`, `"consistency_weight"`,
            `"dropout"` of the latents, `"learning_rate"`. They have the bounds that
            they have in `ModalsModel.compile` and `LatentAugmentation`.

    Reference:

    - [Ho et al., 2019](https://arxiv.org/abs/1905.05393)

    Example:

    >>> schedule = keras_modals.PolicySchedule(
    ...     [
    ...         (5, keras_modals.Policy.zero()),
    ...         (15, keras_modals.Policy.constant(0.5, 0.2)),
    ...     ]
    ... )
    >>> schedule.epochs
    20
    >>> schedule.stretch(60).segments[0].epochs
    15
    """

    __slots__ = ("_segments",)

    def __init__(self, segments):
        segments = tuple(_segment(segment) for segment in segments)
        if not segments:
            raise ValueError("A schedule needs at least one segment. Received: none")
        structures = {
            tuple(_structure(each) for each in as_policies(policy))
            for _, policy, _ in segments
        }
        if len(structures) > 1:
            raise ValueError(
                "The policies of a schedule must have the same operations and "
                f"operation counts. Received: {sorted(structures)}"
            )
        self._segments = segments

    @classmethod
    def merged(cls, segments):
        """A schedule in which what follows its like goes on with it."""
        merged: list[Segment] = []
        for segment in map(_segment, segments):
            if merged and merged[-1][1:] == segment[1:]:
                epochs = merged[-1].epochs + segment.epochs
                merged[-1] = segment._replace(epochs=epochs)
            else:
                merged.append(segment)
        return cls(merged)

    @property
    def segments(self):
        """Tuple of `(epochs, policy, values)`."""
        return tuple(s._replace(values=dict(s.values)) for s in self._segments)

    @property
    def epochs(self):
        """How many epochs the segments have in all."""
        return sum(segment.epochs for segment in self._segments)

    def at(self, epoch):
        """The segment of an epoch, counted from 0; the last one's after the end."""
        for segment in self._segments:
            if epoch < segment.epochs:
                break
            epoch -= segment.epochs
        return segment._replace(values=dict(segment.values))

    def stretch(self, epochs):
        """The same schedule for another number of epochs, in proportion.

        In fewer epochs than there are segments, some of them vanish.
        """
        if not _is_count(epochs):
            raise ValueError(
                "Invalid value received for argument `epochs`. Expected a positive "
                f"integer. Received: epochs={shown(epochs)}"
            )
        total, end, previous, segments = self.epochs, 0, 0, []
        for segment in self._segments:
            end += segment.epochs
            # Rounded half up.
            boundary = (2 * end * epochs + total) // (2 * total)
            if boundary > previous:
                segments.append(segment._replace(epochs=boundary - previous))
                previous = boundary
        return PolicySchedule(segments)

    def save(self, path):
        """Writes the schedule as JSON."""
        files.save(path, "PolicySchedule", self.get_config())

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote. A file that is broken raises, with its line."""
        return files.load(path, "PolicySchedule", cls.from_config)

    @classmethod
    def from_ray(cls, result):
        """The policies that a trial of Ray Tune was trained with, by itself and by
        those that it goes on from.

        Args:
            result: A `ray.tune.Result` of a `keras_modals.ray.trainable`, such as
                `tuner.fit().get_best_result()`. Its checkpoint has the schedule as
                JSON.

        Returns:
            A `PolicySchedule`.

        Raises:
            ValueError: For anything that has no such checkpoint.

        Example:

        ```python
        best = tuner.fit().get_best_result()
        schedule = keras_modals.PolicySchedule.from_ray(best)
        ```
        """
        checkpoint = getattr(result, "checkpoint", None)
        if checkpoint is None:
            raise ValueError(
                "Expected the `ray.tune.Result` of a trial with a checkpoint, such as "
                "`tuner.fit().get_best_result()`. "
                f"Received: result={shown(result)}"
            )
        with checkpoint.as_directory() as folder:
            path = os.path.join(folder, SCHEDULE_FILE)
            if not os.path.exists(path):
                raise ValueError(
                    "The checkpoint of the trial has no schedule: train a "
                    "`keras_modals.ray.trainable` with a policy in its config. "
                    f"Received: result={shown(result)}"
                )
            return cls.load(path)

    def get_config(self):
        return {
            "segments": [
                {
                    "epochs": segment.epochs,
                    "policy": _config_of(segment.policy),
                    "values": dict(segment.values),
                }
                for segment in self._segments
            ]
        }

    @classmethod
    def from_config(cls, config):
        files.check_keys(config, ("segments",))
        entries = config["segments"]
        if not isinstance(entries, list):
            raise files.EntryError(("segments",), "Expected a list of segments.")
        segments = []
        for index, entry in enumerate(entries):
            with files.located("segments", index):
                files.check_keys(entry, ("epochs", "policy"), ("values",))
                with files.located("policy"):
                    policy = policy_from_config(entry["policy"])
                with files.located("values"):
                    values = entry.get("values", {})
                    files.check_keys(values, (), BOUNDS)
                    for name, value in values.items():
                        with files.located(name):
                            check_bounds(name, value)
                with files.located("epochs"):
                    segments.append(_segment((entry["epochs"], policy, values)))
        with files.located("segments"):
            return cls(segments)

    def __eq__(self, other):
        if not isinstance(other, PolicySchedule):
            return NotImplemented
        return self._segments == other._segments

    def __hash__(self):
        return hash(
            tuple((n, p, tuple(sorted(v.items()))) for n, p, v in self._segments)
        )

    def __repr__(self):
        return f"PolicySchedule({[tuple(segment) for segment in self._segments]})"


def _segment(segment):
    segment = tuple(segment)
    if len(segment) not in (2, 3):
        raise ValueError(
            "A segment is `(epochs, policy)` or `(epochs, policy, values)`. "
            f"Received: {shown(segment)}"
        )
    epochs, policy, values = segment if len(segment) == 3 else (*segment, {})
    if not (_is_count(epochs) and epochs <= MOST_EPOCHS):
        raise ValueError(
            "The epochs of a segment must be a positive integer of at most "
            f"{MOST_EPOCHS}. Received: epochs={shown(epochs)}"
        )
    if isinstance(policy, (list, tuple)):
        policy = tuple(policy)
    given = as_policies(policy)
    if not given or not all(isinstance(each, Policy) for each in given):
        raise ValueError(
            "A segment needs a `keras_modals.Policy`, or one for each layer. "
            f"Received: policy={shown(policy)}"
        )
    return Segment(int(epochs), policy, _values(values))


def _values(values):
    if not isinstance(values, Mapping):
        raise ValueError(
            "The values of a segment must map names to numbers. "
            f"Received: values={shown(values)}"
        )
    unknown = [name for name in values if name not in BOUNDS]
    if unknown:
        raise ValueError(
            f"The values of a segment have names among {list(BOUNDS)}. "
            f"Received: {shown(unknown[0])}"
        )
    return {name: check_bounds(name, value) for name, value in values.items()}


def _is_count(value):
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_integer and value > 0


def as_policies(policy):
    """A segment's policies as a tuple, of one where it has one."""
    return policy if isinstance(policy, tuple) else (policy,)


def _config_of(policy):
    if isinstance(policy, tuple):
        return [each.get_config() for each in policy]
    return policy.get_config()


def policy_from_config(config):
    """A policy, or from a list of configs a tuple of them."""
    if not isinstance(config, list):
        return Policy.from_config(config)
    policies = []
    for index, each in enumerate(config):
        with files.located(index):
            policies.append(Policy.from_config(each))
    return tuple(policies)


def _structure(policy):
    names = tuple(name for name, _, _ in policy.sub_policies)
    return names, policy.operation_counts
