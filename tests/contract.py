"""Checks what every layer and loss of a Keras package must support."""

import json

import keras
import numpy as np
from portable import array


def check_layer_contract(
    layer_class, arguments, input_shape, expected_shape, half="float16"
):
    """Checks config, build, symbolic and eager calls, one `fit` step, and mixed
    precision, in which the outputs have the dtype `half`."""
    layer = layer_class(**arguments)
    config = layer.get_config()
    json.dumps(config)
    revived = layer_class.from_config(config)
    assert revived.get_config() == config
    serialized = keras.saving.serialize_keras_object(layer)
    assert keras.saving.deserialize_keras_object(serialized).get_config() == config

    symbolic = layer(keras.KerasTensor((None, *input_shape[1:]), dtype="float32"))
    assert tuple(symbolic.shape) == (None, *expected_shape[1:])
    assert symbolic.dtype == "float32"

    inputs = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    outputs = layer(inputs)
    assert tuple(outputs.shape) == expected_shape
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    revived.build(input_shape)
    assert [w.shape for w in revived.weights] == [w.shape for w in layer.weights]
    revived.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(revived(inputs)), array(outputs))

    model = keras.Sequential([keras.Input(input_shape[1:]), layer_class(**arguments)])
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse", jit_compile="auto")
    model.fit(inputs, np.zeros((len(inputs), 1)), verbose=0)

    mixed = layer_class(**arguments, dtype="mixed_float16")
    assert keras.backend.standardize_dtype(mixed(inputs).dtype) == half
    return layer


def check_loss_contract(loss_class, arguments, y_true, y_pred):
    """Checks config, reductions and sample weights, as for any Keras loss."""
    loss = loss_class(**arguments)
    config = loss.get_config()
    json.dumps(config)
    revived = keras.losses.deserialize(keras.losses.serialize(loss))
    assert revived.get_config() == config

    values = array(loss_class(**arguments, reduction=None)(y_true, y_pred))
    assert values.shape == (len(y_true),)
    weights = np.linspace(0.0, 2.0, len(y_true)).astype("float32")
    for reduction, expected in (
        ("sum", values.sum()),
        ("sum_over_batch_size", values.mean()),
    ):
        reduced = loss_class(**arguments, reduction=reduction)
        np.testing.assert_allclose(reduced(y_true, y_pred), expected, rtol=1e-5)
    np.testing.assert_allclose(
        loss_class(**arguments, reduction="sum")(y_true, y_pred, weights),
        (values * weights).sum(),
        rtol=1e-5,
    )
    half = loss_class(**arguments)(y_true, y_pred.astype("float16"))
    assert np.isfinite(half)
