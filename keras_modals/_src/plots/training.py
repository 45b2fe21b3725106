import numpy as np

from keras_modals._src.plots.style import (
    color_of,
    finish_epochs,
    marker_of,
    new_axes,
    plot_over_epochs,
)
from keras_modals._src.policies.policy_schedule import as_policies

LOSSES = ("loss", "val_loss", "triplet_loss", "adversarial_loss", "discriminator_loss")


def plot_schedule(schedule, quantity="probability", ax=None):
    """Plots the probability or magnitude of each operation in a schedule over epochs.

    Args:
        schedule: A `PolicySchedule`.
        quantity: `"probability"` or `"magnitude"`. If an operation appears in several
            sub-policies or layers, their mean is shown.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    if quantity not in ("probability", "magnitude"):
        raise ValueError(
            "Invalid value received for argument `quantity`. Expected 'probability' or "
            f"'magnitude'. Received: quantity={quantity!r}"
        )
    column = 0 if quantity == "probability" else 1
    ends = np.cumsum([segment.epochs for segment in schedule.segments])
    edges = [0, *ends.tolist()]
    ax = new_axes(ax, figsize=(6.4, 3.6))
    of_segments = [as_policies(segment.policy) for segment in schedule.segments]
    names = dict.fromkeys(n for each in of_segments[0] for n in each.operations)
    for index, name in enumerate(names):
        values = [
            np.mean(
                [
                    pair[column]
                    for policy in policies
                    for pair in policy.operations.get(name, ())
                ]
            )
            for policies in of_segments
        ]
        ax.step(
            edges,
            [*values, values[-1]],
            where="post",
            color=color_of(index),
            marker=marker_of(index),
            markersize=4,
            # Lines at the same value show next to each other.
            linewidth=1.5 + 1.5 * (len(names) - 1 - index),
            label=name.replace("_", " "),
        )
    ax.set_ylim(-0.03, 1.03)
    finish_epochs(ax)
    ax.set_ylabel(f"mean {quantity}")
    return ax


def plot_losses(history, ax=None):
    """Plots training curves of all loss terms on a logarithmic axis.

    The adversarial loss and the discriminator's loss move in opposite directions.

    Args:
        history: The result of `fit`.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    ax = new_axes(ax, figsize=(6.4, 3.6))
    names = [name for name in LOSSES if name in history.history]
    _plot_logs(ax, history, names)
    if {"adversarial_loss", "discriminator_loss"} <= set(names):
        title = "The adversarial loss rises where the discriminator's loss falls"
        ax.set_title(title, fontsize="small")
    ax.set_yscale("log")
    ax.set_ylabel("loss")
    return ax


def plot_discriminator(history, ax=None):
    """Plots the discriminator's accuracy and the latents' distance from the prior.

    The accuracy should approach one half. The distance, based on moments, should fall.

    Args:
        history: The result of `fit` for a model with a `prior_weight`.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    names = ["discriminator_accuracy", "prior_distance"]
    if not set(names) <= set(history.history):
        raise ValueError(
            "The model was trained without a prior. Compile it with a positive "
            f"`prior_weight`. Received: logs={list(history.history)}"
        )
    ax = new_axes(ax, figsize=(6.4, 3.6))
    _plot_logs(ax, history, names)
    ax.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("accuracy; squared distance per feature")
    return ax


def _plot_logs(ax, history, names):
    for index, name in enumerate(names):
        values = history.history[name]
        epochs = np.arange(1, len(values) + 1)
        plot_over_epochs(ax, epochs, values, index, name.replace("_", " "))
    finish_epochs(ax)
