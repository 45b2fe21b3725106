import numpy as np
import pytest
from contract import check_layer_contract
from portable import array, compiled

from keras_modals import LatentDropout


@pytest.mark.backend
def test_it_keeps_the_mean_and_follows_its_variable():
    layer = LatentDropout(0.25, seed=0)
    inputs = np.ones((500, 4), "float32")
    layer.build(inputs.shape)
    drop = compiled(
        lambda: layer(inputs, training=True), [layer.rate, layer.seed_generator.state]
    )
    for rate in (0.25, 0.0, 0.6):
        layer.rate.assign(rate)
        outputs = array(drop())
        np.testing.assert_allclose(outputs[outputs != 0], 1 / (1 - rate), rtol=1e-6)
        share = np.mean(outputs == 0)
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / outputs.size) + 1e-9
    np.testing.assert_array_equal(layer(inputs), inputs)


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3)])
def test_contract(shape):
    layer = check_layer_contract(
        LatentDropout, {"rate": 0.3, "seed": 1}, shape, shape, half="float32"
    )
    assert [weight.name for weight in layer.weights] == ["rate"]
    assert not layer.trainable_weights


@pytest.mark.parametrize("rate", [1.0, -0.1, "a"])
def test_refuses_a_rate(rate):
    with pytest.raises(ValueError, match="argument `rate`"):
        LatentDropout(rate)
