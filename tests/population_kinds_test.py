"""Tests the search over whole trainings with each kind of labels."""

import multi_labels_test
import numpy as np
import positions_test
import pytest
import values_test

import keras_modals
from keras_modals.tuners import PopulationBasedTuner, policy_space


def _positions(rng):
    return positions_test.sentences(rng)[:2]


@pytest.mark.parametrize(
    ("plain_model", "data"),
    [
        (values_test.plain_model, values_test.data),
        (multi_labels_test.plain_model, multi_labels_test.data),
        (positions_test.tagger, _positions),
    ],
    ids=["values", "several labels", "positions"],
)
def test_the_best_model_has_the_score_that_was_found(plain_model, data, rng, tmp_path):
    x, y = data(rng)

    def build(hp):
        names = ("gaussian_noise", "class_mixing")
        policy = policy_space(hp, names, repeats=1)
        return keras_modals.augment(plain_model(), policy=policy, layer=1, seed=0)

    tuner = PopulationBasedTuner(
        build,
        "val_loss",
        population_size=2,
        generations=2,
        epochs_per_generation=1,
        smoothing=0.0,
        seed=0,
        directory=tmp_path,
    )
    tuner.search(x, y, validation_data=(x, y), batch_size=8, verbose=0)
    best = tuner.get_best_models(1)[0]
    loss = best.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)["loss"]
    score = tuner.oracle.get_best_trials(1)[0].score
    np.testing.assert_allclose(loss, score, rtol=1e-5)
