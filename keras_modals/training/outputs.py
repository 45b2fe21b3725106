"""Targets, predictions and weights by output, whatever structure the user gave."""


def output_names(model):
    """Names of a model's outputs: the keys of a dict, else Keras's output names."""
    if isinstance(model.output, dict):
        return list(model.output)
    return list(model.output_names)


def by_output(structure, names):
    """Dict from output name to the entry of `structure` for it, `None` if absent.

    A tensor, or `None`, stands for the entry of every output.
    """
    if isinstance(structure, dict):
        return {name: structure.get(name) for name in names}
    if isinstance(structure, (list, tuple)):
        return dict(zip(names, structure, strict=True))
    return dict.fromkeys(names, structure)


def like_predictions(entries, y_pred):
    """The inverse of `by_output`, in the structure of the predictions."""
    if isinstance(y_pred, dict):
        return entries
    values = list(entries.values())
    return values if isinstance(y_pred, (list, tuple)) else values[0]
