from keras_modals._src.plots.style import finish_epochs, new_axes, plot_over_epochs

_UNITS = {
    "spread": "spread, units of latents",
    "drift": "drift of the mean, spreads",
    "relabeled": "relabeled moved latents, %",
}


def plot_classes(monitor, quantity="spread", class_names=None, ax=None):
    """Plots how classes spread and drift in the latent space over epochs.

    Args:
        monitor: A `keras_modals.evaluation.LatentMonitor` used in a training.
        quantity: `"spread"` or `"drift"`, with a line for each class; or
            `"relabeled"`, with a line for each operation, averaged over classes.
        class_names: Names of the classes, by index. Defaults to the indices.
        ax: matplotlib `Axes` to draw on. Defaults to `None`, a new figure.

    Returns:
        The matplotlib `Axes`.
    """
    if quantity not in _UNITS:
        raise ValueError(
            f"Invalid value received for argument `quantity`. Expected one of "
            f"{list(_UNITS)}. Received: quantity={quantity!r}"
        )
    ax = new_axes(ax, figsize=(6.4, 3.6))
    if quantity == "relabeled":
        lines = _by_operation(monitor)
    else:
        lines = _by_class(monitor, quantity, class_names)
    for index, (name, values) in enumerate(lines.items()):
        plot_over_epochs(ax, values.index, values, index, name)
    ax.set_ylim(bottom=0)
    ax.set_ylabel(_UNITS[quantity])
    finish_epochs(ax, "operation" if quantity == "relabeled" else "class")
    return ax


def _by_class(monitor, quantity, class_names):
    table = monitor.frame.pivot_table(index="epoch", columns="label", values=quantity)
    names = range(1 + max(table)) if class_names is None else class_names
    return {str(names[label]): table[label] for label in table}


def _by_operation(monitor):
    columns = [name for name in monitor.frame if name.startswith("relabeled_")]
    table = 100 * monitor.frame.groupby("epoch")[columns].mean()
    return {
        name.removeprefix("relabeled_").replace("_", " "): table[name]
        for name in columns
    }
