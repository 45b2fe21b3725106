import keras
import numpy as np
import pytest
from contract import check_layer_contract
from portable import array, tensor
from problems import FEATURES, NUM_CLASSES, compile_, make_data
from scipy import stats

from keras_modals import (
    GaussianDiscriminator,
    GaussianDistance,
    LatentAugmentation,
    ModalsModel,
    Policy,
    Prior,
)


@pytest.mark.backend
def test_contract():
    arguments = {"hidden_units": [16, 8], "activation": "tanh", "seed": 1}
    layer = check_layer_contract(GaussianDiscriminator, arguments, (6, 5), (6, 1))
    assert [tuple(w.shape) for w in layer.trainable_weights] == [
        (5, 16),
        (16,),
        (16, 8),
        (8,),
        (8, 1),
        (1,),
    ]


@pytest.mark.backend
def test_samples_the_prior():
    discriminator = GaussianDiscriminator((8,), seed=0)
    with pytest.raises(ValueError, match="Build the discriminator"):
        discriminator.sample_prior(3)
    discriminator.build((None, 4, 3))
    samples = array(discriminator.sample_prior(2000))
    assert samples.shape == (2000, 4, 3)
    assert stats.kstest(samples.ravel(), "norm").pvalue > 0.001
    assert np.any(samples != array(discriminator.sample_prior(2000)))


@pytest.mark.backend
def test_losses_match_cross_entropy(rng):
    discriminator = GaussianDiscriminator()
    latent, prior = rng.normal(size=(2, 7, 1)).astype("float32")
    logits = tensor(latent), tensor(prior)

    def cross_entropy(logits, label):
        p = 1 / (1 + np.exp(-logits))
        return -np.mean(np.log(p if label else 1 - p))

    np.testing.assert_allclose(
        array(discriminator.discriminator_loss(*logits)),
        (cross_entropy(latent, 0) + cross_entropy(prior, 1)) / 2,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        array(discriminator.encoder_loss(logits[0])),
        cross_entropy(latent, 1),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        array(discriminator.accuracy(*logits)),
        (np.mean(latent < 0) + np.mean(prior > 0)) / 2,
    )


@pytest.mark.backend
def test_losses_are_finite_for_extreme_logits():
    discriminator = GaussianDiscriminator()
    extreme = tensor([[1e4], [-1e4]])
    assert np.isfinite(array(discriminator.discriminator_loss(extreme, extreme)))
    assert np.isfinite(array(discriminator.encoder_loss(extreme)))


@pytest.mark.backend
def test_distance_matches_numpy(rng):
    metric = GaussianDistance()
    assert float(metric.result()) == 0
    latents = rng.normal(2.0, 3.0, size=(60, 2, 4)).astype("float32")
    for batch in np.split(latents, 4):
        metric.update_state(batch)
    flat = latents.reshape(60, 8)
    expected = np.mean(flat.mean(0) ** 2 + (flat.std(0) - 1) ** 2)
    np.testing.assert_allclose(array(metric.result()), expected, rtol=1e-5)
    metric.reset_state()
    metric.update_state(latents, sample_weight=np.arange(60) < 30)
    flat = flat[:30]
    expected = np.mean(flat.mean(0) ** 2 + (flat.std(0) - 1) ** 2)
    np.testing.assert_allclose(array(metric.result()), expected, rtol=1e-5)
    revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert revived.get_config() == metric.get_config()


def test_draws_an_encoder_to_the_prior(rng):
    """The discriminator's purpose: latents that start far from N(0, I) end close to it,
    in means, deviations and correlations."""
    labels = rng.integers(0, 3, 1500)
    x = rng.normal(size=(1500, 6)) @ rng.normal(size=(6, 6)) + 2 * np.eye(3, 6)[labels]
    x = x.astype("float32")
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(64, "relu")(inputs)
    latents = keras.layers.Dense(4, name="latents")(hidden)
    augmented = LatentAugmentation(3, Policy.zero())(latents)
    outputs = keras.layers.Dense(3, "softmax")(augmented)
    model = ModalsModel(inputs, outputs)
    discriminator = GaussianDiscriminator((64, 32), seed=0)
    optimizer = keras.optimizers.Adam(2e-3, beta_1=0.5)
    model.compile(
        keras.optimizers.Adam(5e-4, beta_1=0.5),
        "sparse_categorical_crossentropy",
        terms=[Prior(1.0, discriminator, optimizer)],
    )
    encoder = keras.Model(inputs, latents)

    def moments():
        z = encoder.predict(x, verbose=0)
        correlation = np.corrcoef(z.T) - np.eye(4)
        return (
            np.abs(z.mean(0)).max(),
            np.abs(z.std(0) - 1).max(),
            np.abs(correlation).mean(),
        )

    before = moments()
    history = model.fit(x, labels, batch_size=100, epochs=40, verbose=0).history
    after = moments()
    assert max(after) < 0.15
    assert all(a < 0.5 * b for a, b in zip(after, before, strict=True))
    distance = history["prior_distance"]
    assert distance[-1] < 0.02
    assert distance[-1] < 0.1 * distance[0]


@pytest.mark.parametrize("hidden_units", [(), (0,), (16, -1), (2.5,)])
def test_refuses(hidden_units):
    with pytest.raises(ValueError, match="hidden_units="):
        GaussianDiscriminator(hidden_units)


def test_within_the_priors_range_nothing_is_compressed(rng):
    discriminator = GaussianDiscriminator((8,), seed=0)
    latents = rng.uniform(-10, 10, (16, 4)).astype("float32")
    logits = array(discriminator(latents))
    first, last = discriminator.hidden_layers[0], discriminator.logits
    expected = array(last(first(latents)))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e3, 1e6, 1e12, 1e14])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_prior_is_finite_where_the_plain_model_is(policy, scale, rng):
    x, y = make_data(rng)
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((FEATURES,))
        latents = keras.layers.Dense(16, dtype="float32")(inputs)
        latents = LatentAugmentation(NUM_CLASSES, seed=0)(latents)
        outputs = keras.layers.Dense(NUM_CLASSES, "softmax", dtype="float32")(latents)
        discriminator = GaussianDiscriminator((8,), seed=0)
        model = ModalsModel(inputs, outputs)
    finally:
        keras.config.set_dtype_policy("float32")
    terms = [Prior(0.1, discriminator)]
    compile_(model, keras.optimizers.Adam(1e-3), terms=terms)
    history = model.fit(scale * x, y, epochs=3, verbose=0).history
    # Compression reduces a feature of 1e14 to 309. Logits are at most that times some
    # factor of the weights, which are below 1.
    assert 0 < history["adversarial_loss"][-1] < 1e4
    assert 0 < history["discriminator_loss"][-1] < 1e4
    for variable in model.variables:
        assert np.all(np.isfinite(array(variable)))
