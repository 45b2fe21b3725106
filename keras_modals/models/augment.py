import warnings

import keras

from keras_modals.layers.latent_augmentation import LatentAugmentation
from keras_modals.models.graph import copy_graph, find_layers, plain
from keras_modals.models.modals_model import ModalsModel
from keras_modals.training.outputs import by_output, output_names


def augment(
    model,
    layer=None,
    num_classes=None,
    *,
    discriminator="auto",
    label_output=None,
    **layer_arguments,
):
    """Turns a classifier into a `ModalsModel` that augments its latents.

    The result has the same inputs and outputs, and new layers with the same names and
    weights: `model` itself is left as it is. If `model` is compiled, so is the
    result, with the same settings and a fresh optimizer.

    Args:
        model: A built Functional or Sequential classifier.
        layer: Name of the layer whose output is to be augmented. Defaults to the
            input of the last layer with weights, the classifier's head.
        num_classes: Integer. Defaults to the width of the (label) output, 2 for a
            width of 1.
        discriminator, label_output: As in `ModalsModel`.
        **layer_arguments: Further arguments of `LatentAugmentation`.

    Returns:
        A `ModalsModel`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(16, "relu", name="features"),
    ...     keras.layers.Dense(3, "softmax"),
    ... ])
    >>> augmented = keras_modals.augment(model, layer="features")
    >>> augmented.compile("adam", "sparse_categorical_crossentropy")
    """
    present = (
        find_layers(model, LatentAugmentation) if isinstance(model, keras.Model) else []
    )
    if present:
        raise ValueError(
            "The model has a `LatentAugmentation` layer already. "
            f"Received: {[found.name for found in present]}"
        )
    graph = _graph(model)
    names = output_names(graph)
    # An unknown name is refused by `ModalsModel`, which knows several outputs as well.
    label_name = label_output if label_output in names else names[0]
    output = by_output(graph.output, names)[label_name]
    if num_classes is None:
        num_classes = _infer_num_classes(output)
    augmentation = LatentAugmentation(num_classes, **layer_arguments)
    if layer is None:
        copied = _insert_before(graph, _find_head(graph, output), augmentation)
    else:
        copied = _insert_after(graph, layer, augmentation)
    result = ModalsModel(
        copied.input,
        copied.output,
        # On PyTorch, a variable's path cannot have a dot in it.
        name=model.name.replace(".", "_"),
        discriminator=discriminator,
        label_output=label_output,
    )
    if model.compiled:
        compile_alike(result, model)
    return result


def _graph(model):
    """The model as a plain Functional one."""
    try:
        if isinstance(model, keras.Model) and _trains_as_keras_does(model):
            return plain(model)
    except (AttributeError, IndexError, TypeError, ValueError):
        pass
    raise ValueError(
        "`augment` rebuilds the graph of a built Functional or Sequential model. A "
        "subclassed model has none, or a training step of its own: build its layers "
        "into a Functional model with a `LatentAugmentation` instead. A Sequential "
        f"model needs an `Input`, or a first call. Received: model={model!r}"
    )


def _trains_as_keras_does(model):
    return type(model).train_step is keras.Model.train_step


def _infer_num_classes(output):
    width = output.shape[-1]
    if len(output.shape) != 2 or width is None:
        raise ValueError(
            "Cannot tell the number of classes from an output of shape "
            f"{tuple(output.shape)}. Pass `num_classes`."
        )
    return max(width, 2)


def _find_head(model, output):
    """Name of the last layer with weights that leads to `output`."""
    weighted = [
        layer for layer in keras.Model(model.input, output).layers if layer.weights
    ]
    if not weighted:
        raise ValueError(
            "The model has no layer with weights. Pass `layer`, one of "
            f"{_layer_names(model)}"
        )
    head = weighted[-1]
    if isinstance(head, keras.Model):
        raise ValueError(
            f"The last layer with weights, '{head.name}', is a model, whose latents "
            f"lie inside it. Pass `layer`, one of {_layer_names(model)}"
        )
    return head.name


def _layer_names(model):
    return [
        layer.name
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _insert_after(model, name, augmentation):
    if name not in _layer_names(model):
        raise ValueError(
            f"No such layer. Expected one of {_layer_names(model)}. "
            f"Received: layer={name!r}"
        )

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if layer.name != name:
            return outputs
        _check_called_once(augmentation, name)
        return augmentation(outputs)

    return copy_graph(model, call)


def _insert_before(model, name, augmentation):
    def call(layer, *args, **kwargs):
        if layer.name != name:
            return layer(*args, **kwargs)
        _check_called_once(augmentation, name)
        return layer(augmentation(args[0]), *args[1:], **kwargs)

    return copy_graph(model, call)


def _check_called_once(augmentation, name):
    if augmentation.built:
        raise ValueError(
            f"The layer '{name}' is used several times in the model. Pass as `layer` "
            f"one that is used once. Received: layer={name!r}"
        )


def compile_alike(result, model):
    """Compiles a model as another one is, or warns where that cannot be copied."""
    try:
        result.compile_from_config(model.get_compile_config())
    except (TypeError, ValueError) as error:
        warnings.warn(
            f"The new model '{result.name}' is not compiled, since the settings of the "
            f"original could not be copied: call `compile` on it. ({error})",
            stacklevel=3,
        )
