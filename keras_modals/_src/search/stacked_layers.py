"""Heads of common layers, with all copies computed at once.

A copy is an entry of the first axis. Inputs are `(copies, rows, features)`, or
`(rows, features)` if all copies have the same. Weights have this axis before their
own. Layers without weights support it without changes.
"""

import keras
from keras import layers, ops

from keras_modals._src.layers.latent_dropout import LatentDropout, drop
from keras_modals._src.models.graph import is_chain


def _dense(layer, weights, inputs, training):
    outputs = ops.matmul(inputs, weights(layer.kernel))
    if layer.use_bias:
        outputs = outputs + weights(layer.bias)
    return layer.activation(outputs), []


def _layer_normalization(layer, weights, inputs, training):
    inputs = _precise(inputs)
    mean, variance = ops.moments(inputs, axes=-1, keepdims=True)
    return _normalized(layer, weights, inputs, mean, variance), []


def _batch_normalization(layer, weights, inputs, training):
    inputs = _precise(inputs)
    moving = (layer.moving_mean, layer.moving_variance)
    changed = []
    if training and layer.trainable:
        moments = ops.moments(inputs, axes=-2, keepdims=True)
        for variable, moment in zip(moving, moments, strict=True):
            value = weights(variable) * layer.momentum
            value = value + moment * (1.0 - layer.momentum)
            changed.append((variable, ops.squeeze(value, axis=1)))
    else:
        moments = [weights(variable) for variable in moving]
    return _normalized(layer, weights, inputs, *moments), changed


def _latent_dropout(layer, weights, inputs, training):
    if not training:
        return inputs, []
    rates = ops.reshape(weights(layer.rate), (-1, 1, 1))
    return drop(inputs, rates, layer.seed_generator), []


def _precise(inputs):
    return ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))


def _normalized(layer, weights, inputs, mean, variance):
    outputs = (inputs - mean) * ops.rsqrt(variance + layer.epsilon)
    if layer.scale:
        outputs = outputs * weights(layer.gamma)
    if layer.center:
        outputs = outputs + weights(layer.beta)
    return ops.cast(outputs, layer.compute_dtype)


#: Maps layer classes to `fn(layer, weights, inputs, training)`, which returns outputs
#: and pairs of variables and new values of all copies. `weights(variable)` returns the
#: values of all copies. `None` for a layer that needs no change.
STACKED = {
    layers.Activation: None,
    layers.BatchNormalization: _batch_normalization,
    layers.Dense: _dense,
    layers.Dropout: None,
    layers.ELU: None,
    layers.GaussianDropout: None,
    layers.GaussianNoise: None,
    layers.Identity: None,
    LatentDropout: _latent_dropout,
    layers.LayerNormalization: _layer_normalization,
    layers.LeakyReLU: None,
    layers.ReLU: None,
}
#: Conditions under which the functions above apply.
_USUAL = {
    # Keras before 3.14 has no renormalization.
    layers.BatchNormalization: lambda layer: (
        layer.axis in (-1, 1) and not getattr(layer, "renorm", False)
    ),
    layers.Activation: lambda layer: _is_of_keras(layer.activation),
    layers.Dense: lambda layer: (
        not (layer.lora_enabled or layer.quantization_mode)
        and _is_of_keras(layer.activation)
    ),
    layers.Dropout: lambda layer: layer.noise_shape is None,
    layers.LayerNormalization: lambda layer: not layer.rms_scaling,
}


def _is_of_keras(activation):
    """Whether an activation is known to act on the last axis or elementwise."""
    return activation.__module__.startswith("keras.")


def is_stackable(head):
    """Whether `call_stacked` supports a Functional model."""
    return (
        is_chain(head)
        and len(head.input.shape) == 2
        and any(layer.weights for layer in head.layers)
        and all(
            type(layer) in STACKED
            and _USUAL.get(type(layer), lambda _: True)(layer)
            and getattr(layer, "activity_regularizer", None) is None
            for layer in head.layers[1:]
        )
    )


def call_stacked(head, values, inputs, training):
    """Computes all copies of a head.

    Args:
        head: A model that `is_stackable`.
        values: Pairs of each of its variables and the values of all copies.
        inputs: `(copies, rows, features)`, or `(rows, features)` if all copies have the
            same.
        training: Boolean.

    Returns:
        Pair of the outputs, `(copies, rows, features)`, and the pairs of variables and
        values that have changed.
    """
    # Read before opening a scope in which they have no value.
    values = [(variable, ops.convert_to_tensor(stack)) for variable, stack in values]
    stacks = {id(variable): stack for variable, stack in values}
    changed = []
    # The first copy's seed draws for all copies.
    weights = {id(weight) for weight in head.weights}
    seeds = [pair for pair in values if id(pair[0]) not in weights]
    with keras.StatelessScope([(seed, stack[0]) for seed, stack in seeds]) as scope:
        for layer in head.layers[1:]:
            stacked = STACKED[type(layer)]
            if stacked is None:
                inputs = _call(layer, inputs, training)
            else:
                inputs = ops.cast(inputs, layer.compute_dtype)
                inputs, new = stacked(layer, _reader(stacks, layer), inputs, training)
                changed += new
    for seed, stack in seeds:
        drawn = scope.get_current_value(seed)
        changed.append((seed, ops.concatenate([drawn[None], stack[1:]])))
    return inputs, changed


def _reader(stacks, layer):
    """Returns a reader of a layer's variables, with vectors as `(copies, 1, features)`.

    Variables of normalization layers keep their precision."""
    is_dense = isinstance(layer, layers.Dense)

    def weights(variable):
        value = stacks[id(variable)]
        if is_dense:
            value = ops.cast(value, layer.compute_dtype)
        return value[:, None] if len(variable.shape) == 1 else value

    return weights


def _call(layer, inputs, training):
    random = (layers.Dropout, layers.GaussianDropout, layers.GaussianNoise)
    if isinstance(layer, random):
        return layer(inputs, training=training)
    return layer(inputs)
