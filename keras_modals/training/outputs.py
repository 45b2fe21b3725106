"""Targets, predictions, weights and losses by output, in whatever structure the user
gave them."""

import keras


def first_tensor(structure):
    """The first tensor: an optional input may be `None`."""
    return next(t for t in keras.tree.flatten(structure) if t is not None)


def output_names(model):
    """Names of a model's outputs: the keys of a dict, else Keras's output names."""
    if isinstance(model.output, dict):
        return list(model.output)
    return list(model.output_names)


def check_outputs(model):
    """Refuses outputs with one name, or in structures within structures."""
    outputs = model.output
    entries = list(outputs.values()) if isinstance(outputs, dict) else outputs
    flat = entries if isinstance(entries, (list, tuple)) else [entries]
    names = output_names(model)
    nested = any(isinstance(entry, (dict, list, tuple)) for entry in flat)
    if nested or len(set(names)) < len(names):
        raise ValueError(
            "The outputs of a `ModalsModel` must be one tensor, or a list or dict of "
            "tensors of different layers: give each an `Identity` layer with a name. "
            f"Received: outputs {names}" + " in a nested structure" * nested
        )


def label_output(model):
    """Name of the output whose targets are the class labels."""
    return model.label_output or output_names(model)[0]


def losses_of(model, name):
    """The losses that were compiled for an output: none, one or several."""
    loss = getattr(model, "loss", None)
    names = output_names(model)
    if isinstance(loss, dict):
        loss = loss.get(name)
    elif isinstance(loss, (list, tuple)) and len(loss) == len(names):
        loss = loss[names.index(name)]
    return [one for one in keras.tree.flatten(loss) if one is not None]


def target_names(model, y):
    """Names of the outputs that targets are given for: as in Keras, a list may leave
    out those without a loss."""
    names = output_names(model)
    if isinstance(y, dict):
        return [name for name in names if name in y]
    if isinstance(y, (list, tuple)) and len(y) != len(names):
        return [name for name in names if losses_of(model, name)]
    return names


def by_output(structure, names):
    """Dict from output name to the entry of `structure` for it, `None` if absent.

    A tensor, or `None`, stands for the entry of every output.
    """
    if isinstance(structure, dict):
        return {name: structure.get(name) for name in names}
    if isinstance(structure, (list, tuple)):
        return dict(zip(names, structure, strict=True))
    return dict.fromkeys(names, structure)


def like(structure, entries):
    """The inverse of `by_output`: a structure as given, with other entries."""
    if isinstance(structure, dict):
        return {name: entries.get(name, entry) for name, entry in structure.items()}
    values = list(entries.values())
    return values if isinstance(structure, (list, tuple)) else values[0]
