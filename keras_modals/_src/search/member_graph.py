"""The graph of a one-run search, built from that of a `ModalsModel`."""

import keras

from keras_modals._src.layers.mixed_mask import MixedMask
from keras_modals._src.layers.policy_layer import DEFAULT_POLICY
from keras_modals._src.models.augment import augment, overridden
from keras_modals._src.models.copying import copy_model
from keras_modals._src.models.graph import downstream, find_layers
from keras_modals._src.models.modals_model import ModalsModel
from keras_modals._src.policies.policy import Policy
from keras_modals._src.training.outputs import by_output

#: How a plain model is augmented for a search: the default policy, the paper's
#: operations at 0, and a dropout rate.
START = {
    "policy": Policy(
        {**Policy.zero(repeats=1).operations, **DEFAULT_POLICY.operations}
    ),
    "dropout": 0.0,
}


def as_modals_model(model):
    """Returns a new `ModalsModel` with the weights of a model, which may be plain."""
    if not isinstance(model, ModalsModel):
        return augment(model, **START)
    names = overridden(model)
    if names:
        raise ValueError(
            "The search trains like `ModalsModel` and would drop what "
            f"`{type(model).__name__}` overrides: {', '.join(names)}. Use a plain "
            f"`ModalsModel`, or remove the overrides. Received: model={model!r}"
        )
    if model.latent_augmentation not in model.layers:
        raise ValueError(
            "The `LatentAugmentation` layer is in a nested model, which cannot be "
            "split there. Insert it in the outer model. "
            f"Received: model={model!r}"
        )
    return copy_modals_model(model)


def copy_modals_model(model, warmup_steps=None):
    """Copies a `ModalsModel`, uncompiled, optionally with another warm-up."""
    copy = copy_model(model)
    result = ModalsModel(
        copy.input,
        copy.output,
        name=model.name,
        label_output=model.label_output,
        num_views=model.num_views,
        clean_view=model.clean_view,
        warmup_steps=model.warmup_steps if warmup_steps is None else warmup_steps,
    )
    result.preprocessor = model.preprocessor
    result.task_config = model.task_config
    return result


def check_no_mask_past(template):
    """Raises if a mask bypasses the layer whose policy is searched.

    Members mix different rows there, and would need their own masks."""
    name = template.latent_augmentation.name
    if any(mask.layer == name for mask in find_layers(template, MixedMask)):
        raise ValueError(
            f"A mask bypasses the layer '{name}', the nearest to the head, whose "
            "policy is searched for each member. Put one after the pooling of "
            "positions, as `augment(model)` does. "
            f"Received: model={template.name!r}"
        )


def call_heads(template, heads, inputs):
    """The outputs of the graph with member heads, and the index of the label output.

    The index is among the heads' outputs."""
    depends, _ = downstream(template, template.latent_augmentation)
    names, label = template.output_map.names, template.output_map.label
    labelled = by_output(template.output, names)[label]
    head_outputs = keras.tree.flatten(heads(inputs if len(inputs) > 1 else inputs[0]))
    outputs: list = []
    position = None
    for tensor, name, is_dependent in zip(
        template.outputs, template.output_names, depends, strict=True
    ):
        if is_dependent:
            index = sum(depends[: len(outputs)])
            if tensor is labelled:
                position = index
            # Keras names outputs after the layers that they come from.
            name_it = keras.layers.Identity(name=name, autocast=False)
            tensor = name_it(head_outputs[index])
        outputs.append(tensor)
    if position is None:
        raise ValueError(
            "The output with the class labels does not depend on the "
            "`LatentAugmentation`, so there is nothing to search. "
            f"Received: label_output={template.label_output!r}"
        )
    return keras.tree.pack_sequence_as(template.output, outputs), position
