"""Copies of a model with layers inserted after some of its tensors."""

import keras

from keras_modals._src.layers.mixed_mask import MixedMask
from keras_modals._src.models.copying import run_on_copies


def insert(graph, model, calls, places):
    """Copies a model and inserts `LatentAugmentation` and other layers.

    Args:
        graph: The model's `Graph`.
        model: The same as a Functional model.
        calls: The calls that use the outputs of the new layers. Others keep the
            original tensors.
        places: List of pairs of one of the graph's tensors and a function that creates
            the new layers after it, the first of which augments.
    """
    own = {id(call) for call in calls}
    makers = {id(tensor): make for tensor, make in places}

    def build(graph, copier):
        inputs = graph.new_inputs()
        values: dict[int, object] = {}
        augmented: dict[int, object] = {}
        # Maps each value's id to the names of the augmenting layers before it.
        names: dict[int, tuple[str, ...]] = {}
        masks: dict[tuple, tuple] = {}

        def add(tensor, value, before):
            values[id(tensor)] = value
            names[id(value)] = before
            if id(tensor) in makers:
                layers = makers[id(tensor)]()
                for layer in layers:
                    value = layer(value)
                augmented[id(tensor)] = value
                names[id(value)] = (*before, layers[0].name)

        def mask_for(value, before):
            """Updates a mask for the layers that it bypasses."""
            known = names.get(id(value), ())
            for name in before:
                if name not in known:
                    key = id(value), name
                    if key not in masks:
                        # Keep the value with its mask, so that its id stays unique.
                        masks[key] = value, MixedMask(name)(value)
                    value = masks[key][1]
            return value

        for tensor, value in zip(graph.inputs, keras.tree.flatten(inputs), strict=True):
            add(tensor, value, ())
        for call in graph.calls:
            read = {**values, **augmented} if id(call) in own else values

            def place(entry, read=read):
                return read.get(id(entry), entry)

            args, kwargs = keras.tree.map_structure(place, (call.args, call.kwargs))
            given = [*keras.tree.flatten(args)]
            given += [
                leaf
                for name, value in kwargs.items()
                if "mask" not in name
                for leaf in keras.tree.flatten(value)
            ]
            before = _merged(names.get(id(value), ()) for value in given)
            for name, value in kwargs.items():
                if "mask" in name and isinstance(value, keras.KerasTensor):
                    kwargs[name] = mask_for(value, before)
            outputs = copier.call(call.operation, *args, **kwargs)
            made = [
                leaf
                for leaf in keras.tree.flatten(outputs)
                if isinstance(leaf, keras.KerasTensor)
            ]
            for tensor, value in zip(call.outputs, made, strict=True):
                add(tensor, value, before)
        outputs = [values[id(tensor)] for tensor in graph.outputs]
        outputs = keras.tree.pack_sequence_as(model.output, outputs)
        return keras.Model(inputs, outputs, name=model.name)

    return run_on_copies(graph, build, model.name)


def _merged(groups):
    """All names once, in order."""
    return tuple(dict.fromkeys(name for group in groups for name in group))
