import numbers
import os
from collections import namedtuple
from collections.abc import Mapping

from keras_modals._src.arguments import BOUNDS, check_bounds, shown
from keras_modals._src.policies import files
from keras_modals._src.policies.policy import Policy

Segment = namedtuple("Segment", ["epochs", "policy", "values"])

MOST_EPOCHS = 10**9

#: The file with a member's schedule in a Ray Tune checkpoint.
SCHEDULE_FILE = "schedule.json"


class PolicySchedule:
    """The policies to use in each epoch of a training. Immutable.

    A population-based search returns a schedule, and `PolicyScheduler` trains with one.
    A schedule consists of segments of one or more epochs. It is stretched in proportion
    to fit a training of another length.

    Args:
        segments: Sequence of `(epochs, policy)` or `(epochs, policy, values)`.
            `epochs` is a positive integer. `policy` is a `Policy`, or a sequence with
            one for each `LatentAugmentation` of a model; all segments must use the same
            operations. `values` maps names of other numbers to their values:
            `"triplet_weight"`, `"prior_weight"`, `"consistency_weight"`, `"dropout"` of
            the latents, `"learning_rate"`. Their bounds are those of
            `ModalsModel.compile` and `LatentDropout`.

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
        """Creates a schedule in which equal neighboring segments are merged."""
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
        """The total number of epochs."""
        return sum(segment.epochs for segment in self._segments)

    def at(self, epoch):
        """Returns the segment of an epoch, counted from 0.

        After the end, it is the last segment."""
        for segment in self._segments:
            if epoch < segment.epochs:
                break
            epoch -= segment.epochs
        return segment._replace(values=dict(segment.values))

    def stretch(self, epochs):
        """Returns the same schedule, rescaled to another number of epochs.

        If there are fewer epochs than segments, some segments vanish.
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
        """Saves the schedule as JSON."""
        files.save(path, "PolicySchedule", self.get_config())

    @classmethod
    def load(cls, path):
        """Loads a schedule saved by `save`.

        An invalid file raises a `ValueError` with the file and line."""
        return files.load(path, "PolicySchedule", cls.from_config)

    @classmethod
    def from_ray(cls, result):
        """Reads the policies that a Ray Tune trial and its ancestors were trained with.

        Args:
            result: A `ray.tune.Result` of a `keras_modals.ray.trainable`, such as
                `tuner.fit().get_best_result()`. Its checkpoint contains the schedule as
                JSON.

        Returns:
            A `PolicySchedule`.

        Raises:
            ValueError: If the result has no such checkpoint.

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
                    "The checkpoint of the trial contains no schedule. Train a "
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
            f"The names of a segment's values must be among {list(BOUNDS)}. "
            f"Received: {shown(unknown[0])}"
        )
    return {name: check_bounds(name, value) for name, value in values.items()}


def _is_count(value):
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_integer and value > 0


def as_policies(policy):
    """Returns a segment's policies as a tuple, even if there is only one."""
    return policy if isinstance(policy, tuple) else (policy,)


def _config_of(policy):
    if isinstance(policy, tuple):
        return [each.get_config() for each in policy]
    return policy.get_config()


def policy_from_config(config):
    """Creates a policy from a config, or a tuple of policies from a list of configs."""
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
