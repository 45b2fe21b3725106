"""Results of a population-based search, whatever the search library."""

import textwrap
from typing import NamedTuple

import numpy as np

from keras_modals._src.policies.policy_schedule import PolicySchedule, as_policies
from keras_modals._src.status_line import WIDTH


class Step(NamedTuple):
    """A part of the training of the best member or its ancestors.

    Attributes:
        epochs: The number of epochs.
        policy: The `Policy` used.
        values: Dict of the other numbers used.
        score: The member's smoothed score at the end.
        scores: The smoothed scores of all members at the end; NaN for a failed one.
    """

    epochs: int
    policy: object
    values: dict
    score: float
    scores: np.ndarray


def schedule_of(steps):
    """Creates the `PolicySchedule` of the steps of a lineage."""
    return PolicySchedule.merged(
        [(step.epochs, step.policy, step.values) for step in steps if step.epochs]
    )


def describe(policy, values):
    """Formats a policy, or one for each layer, and other numbers in one line."""
    numbers = [f"{name} {value:.3g}" for name, value in values.items()]
    policies = " | ".join(map(str, as_policies(policy))) if policy else ""
    return ", ".join([*([policies] if policies else []), *numbers])


def print_results(objective, direction, steps, last=None):
    """Prints members' scores and the lineage of the best member.

    Args:
        objective: Name of the scores.
        direction: `"min"` or `"max"`, whether smaller or larger scores are better.
        steps: List of `Step`, one per generation.
        last: Optional integer, the number of last generations to print.
    """
    best, worst = (np.min, np.max) if direction == "min" else (np.max, np.min)
    print(f"smoothed {objective}, and the lineage of the best member at the end")
    print("generation     best     mean    worst  failed    score  trained with")
    for generation, step in list(enumerate(steps, 1))[-(last or 0) :]:
        scores = step.scores[np.isfinite(step.scores)]
        found = [of(scores) if len(scores) else np.nan for of in (best, np.mean, worst)]
        numbers = " ".join(f"{number:8.4f}" for number in found)
        row = (
            f"{generation:10} {numbers} {len(step.scores) - len(scores):7} "
            f"{step.score:8.4f}  "
        )
        # A policy of several layers takes several lines.
        trained_with = textwrap.wrap(
            describe(step.policy, step.values),
            WIDTH - len(row),
            break_on_hyphens=False,
        )
        print(row + f"\n{'':{len(row)}}".join(trained_with))
