import keras
import numpy as np
import pytest
from keras import ops
from portable import array
from problems import compile_, make_data, modals_model

import keras_modals
from keras_modals import Policy, PolicySchedule, PolicyScheduler, Term, TermLosses


class Square(Term):
    kind = "square"
    levels = (0.0, 0.1, 0.2)

    def losses(self, latents, labels, sample_weight=None):
        known = ops.cast(labels >= 0, latents.dtype)
        norms = ops.sum(ops.square(latents), axis=-1)
        return TermLosses(ops.mean(known * norms))


class Center(Term):
    """A term that trains its own variable: a point that follows the latents."""

    kind = "center"
    log_names = ("center_loss", "center_distance")

    def __init__(self, weight=0.0, rate=0.5):
        super().__init__(weight)
        self.rate = rate
        self.optimizer = keras.optimizers.SGD(rate)
        self.center = None

    def build(self, num_features):
        super().build(num_features)
        if self.center is None:
            self.center = keras.Variable(np.zeros(num_features, "float32"))

    @property
    def own_variables(self):
        return [self.center]

    def losses(self, latents, labels, sample_weight=None):
        held = ops.stop_gradient(ops.convert_to_tensor(self.center))
        encoder = ops.mean(ops.square(latents - held))
        mean = ops.stop_gradient(ops.mean(latents, axis=0))
        own = 0.5 * ops.sum(ops.square(self.center - mean))
        return TermLosses(
            encoder, own, {"center_loss": encoder, "center_distance": own}
        )

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def still(**compile):
    model = modals_model(policy=Policy.zero(repeats=1), num_views=1)
    return compile_(model, keras.optimizers.SGD(0.1), **compile)


def latents_of(model, x):
    return array(keras.Model(model.input, model.get_layer("latents").output)(x))


@pytest.mark.backend
def test_one_of_the_users_own(rng):
    """It acts on clean latents, by its weight, in addition to the whole task."""
    x, y = make_data(rng, 24)
    model, plain = still(square_weight=0.25), still()
    plain.set_weights(model.get_weights())
    z = latents_of(model, x)
    kernel, bias = model.get_layer("latents").weights
    hidden = keras.Model(model.input, model.get_layer("hidden").output)(x)
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["square_loss"], np.mean(np.sum(z**2, 1)), rtol=1e-5)
    # The logs contain the task loss, whatever a term adds.
    plain_logs = plain.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["loss"], plain_logs["loss"], rtol=1e-6)
    others = plain.get_layer("latents").weights
    for weight, other, slope in (
        (kernel, others[0], array(hidden).T @ (2 * z) / 24),
        (bias, others[1], np.mean(2 * z, 0)),
    ):
        expected = array(other) - 0.1 * 0.25 * slope
        np.testing.assert_allclose(array(weight), expected, rtol=1e-4, atol=1e-6)
    assert "square_loss" not in model.evaluate(x, y, verbose=0, return_dict=True)


@pytest.mark.backend
def test_one_with_variables_of_its_own(rng, tmp_path):
    x, y = make_data(rng, 24)
    model = still(terms=[Center(0.1)])
    z = latents_of(model, x)
    count = len(model.get_weights())
    model.train_on_batch(x, y)
    (term,) = model.terms
    np.testing.assert_allclose(array(term.center), 0.5 * z.mean(0), atol=1e-5)
    assert len(model.get_weights()) == count
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded.terms[0].center), array(term.center))
    for each in (model, loaded):
        each.fit(x, y, verbose=0, shuffle=False)
    np.testing.assert_allclose(
        array(loaded.terms[0].center), array(term.center), rtol=1e-6
    )


def test_its_weight_is_scheduled_and_searched(rng):
    x, y = make_data(rng)
    zero = Policy.zero(repeats=1)
    schedule = PolicySchedule([(1, zero), (1, zero, {"square_weight": 0.5})])
    model = still(square_weight=0.1)
    scheduler = PolicyScheduler(schedule)
    model.fit(x, y, epochs=2, callbacks=[scheduler], verbose=0)
    assert float(model.term_weights["square_weight"]) == 0.5
    with pytest.raises(ValueError, match="square_weight=-1"):
        PolicySchedule([(1, zero, {"square_weight": -1})])
    search = keras_modals.SharedEncoderSearch(model, 2, 1, seed=0)
    search.fit(x, y, validation_data=(x, y), epochs=6, verbose=0)
    tried = {record["shared"][0] for record in search.population.records}
    assert len(tried) > 1
    assert tried <= {0.0, 0.1, 0.2}


def test_a_term_of_weight_zero_is_left_out(rng):
    x, y = make_data(rng)
    model = still(square_weight=0.0, terms=[Center(0.0)])
    assert model.terms == []
    assert set(model.fit(x, y, verbose=0).history) == {"accuracy", "loss"}
    with pytest.raises(TypeError, match="nrom_weight"):
        still(nrom_weight=0.1)


def test_compiled_again_it_keeps_its_variables():
    model = still(prior_weight=0.1)
    term = model.terms[0]
    model.compile("sgd", "sparse_categorical_crossentropy", prior_weight=0.2)
    assert model.terms == [term]
    assert float(model.term_weights["prior_weight"]) == pytest.approx(0.2)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert model.terms == []


def test_a_term_is_that_of_one_model():
    """Its state belongs to one model. Two models would train the same discriminator."""
    terms = [Center(0.1)]
    still(terms=terms)
    with pytest.raises(ValueError, match="Create a term for each"):
        still(terms=terms)


def test_no_two_terms_of_a_kind():
    with pytest.raises(ValueError, match=r"terms\.triplets\.Triplets.*'triplet'"):
        type("Other", (Term,), {"kind": "triplet"})
