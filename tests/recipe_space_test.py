"""The recipe of latent mixing as hyperparameters, and policies of several layers."""

import keras
import keras_tuner
import numpy as np
import pytest
from portable import array
from problems import NUM_CLASSES, compile_, make_data, plain_model

import keras_modals
from keras_modals import Policy, PolicySchedule, PolicyScheduler
from keras_modals._src.tuners.policy_space import policy_from_values
from keras_modals.tuners import policy_space, recipe_space


def test_by_default_it_is_the_recipe_of_augment():
    hp = keras_tuner.HyperParameters()
    recipe = recipe_space(hp)
    model = compile_(plain_model(), keras.optimizers.Adam(0.01))
    found, expected = recipe.apply(model), keras_modals.augment(model)
    assert found.policies == expected.policies
    assert found.warmup_steps == expected.warmup_steps > 0
    assert found.terms == expected.terms == []
    for each in (found, expected):
        assert float(array(each.optimizer.learning_rate)) == pytest.approx(0.01)
    assert len(found.layers) == len(expected.layers)


def test_it_reaches_every_part_and_comes_back_to_nothing(rng):
    x, y = make_data(rng)
    hp = keras_tuner.HyperParameters()
    recipe_space(hp)
    hp.values.update(
        {
            "recipe/places": "input",
            "recipe/probability": 0.0,
            "recipe/learning_rate": 2.0,
        }
    )
    plain = compile_(plain_model(), keras.optimizers.SGD(0.02))
    model = recipe_space(hp).apply(compile_(copy_of(plain), keras.optimizers.SGD(0.01)))
    assert len(model.latent_augmentations) == 1
    assert model.terms == []
    logs = [each.fit(x, y, shuffle=False, verbose=0).history for each in (plain, model)]
    assert logs[0].keys() == logs[1].keys()
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5)


@pytest.mark.parametrize("decays", [False, True])
def test_it_scales_the_rate_of_its_own_model_only(decays):
    """Applying it twice to a model must not multiply the rate by the factor twice."""
    rate = keras.optimizers.schedules.CosineDecay(0.01, 100) if decays else 0.01
    model = compile_(plain_model(), keras.optimizers.SGD(rate))
    recipe = recipe_space(keras_tuner.HyperParameters())._replace(learning_rate=2.0)
    for _ in range(2):
        found = recipe.apply(model)
        assert rate_of(found) == pytest.approx(0.02)
        assert rate_of(model) == pytest.approx(0.01)
    x = np.zeros((4, *model.input_shape[1:]), "float32")
    for each in (model, found):
        each.fit(x, np.zeros(4, "int32"), batch_size=2, epochs=30, verbose=0)
    assert rate_of(found) == pytest.approx(2 * rate_of(model))
    assert (rate_of(model) < 0.005) == decays


def test_it_scales_no_function():
    recipe = recipe_space(keras_tuner.HyperParameters())._replace(learning_rate=2.0)
    model = compile_(plain_model(), keras.optimizers.SGD(always))
    with pytest.raises(ValueError, match=r"\.LearningRateSchedule` in place of a func"):
        recipe.apply(model)


@keras.saving.register_keras_serializable("tests")
def always():
    return 0.01


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is not registered."""

    def __call__(self, step):
        return 0.01 * 0.5 ** keras.ops.cast(step, "float32")

    def get_config(self):
        return {}


def test_what_is_scaled_can_be_copied():
    recipe = recipe_space(keras_tuner.HyperParameters())._replace(learning_rate=2.0)
    model = recipe.apply(compile_(plain_model(), keras.optimizers.SGD(Halving())))
    search = keras_modals.SharedEncoderSearch(model, population_size=2)
    assert rate_of(search) == pytest.approx(0.02)


def rate_of(model):
    return float(array(model.optimizer.learning_rate))


def copy_of(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def test_a_tuner_of_keras_tuner_searches_it(rng, tmp_path):
    x, y = make_data(rng)

    def build(hp):
        return recipe_space(hp).apply(compile_(plain_model()))

    tuner = keras_tuner.RandomSearch(
        build,
        "val_accuracy",
        max_trials=3,
        seed=0,
        directory=tmp_path,
        overwrite=True,
    )
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    (best,) = tuner.get_best_hyperparameters(1)
    names = {name for name in best.values if name.startswith("recipe/")}
    assert len(names) == 9


def test_what_learns_from_samples_without_labels_belongs_to_it(rng):
    x, y = make_data(rng)
    hp = keras_tuner.HyperParameters()
    recipe_space(hp, unlabeled=True)
    hp.values.update({"recipe/threshold": 0.0, "recipe/consistency_weight": 3.0})
    recipe = recipe_space(hp, unlabeled=True)
    model = recipe.apply(compile_(plain_model()))
    (term,) = model.terms
    assert (term.kind, term.initial_weight, term.threshold) == ("consistency", 3, None)
    data = keras_modals.join_unlabeled(
        (x[:32], y[:32]), x[32:], 16, unlabeled_per_batch=16 * recipe.unlabeled_ratio
    )
    assert data[0][0].shape == (16 + 32, x.shape[1])
    assert "consistency_loss" in model.fit(data, verbose=0).history
    hp.values["recipe/consistency_weight"] = 0.0
    recipe = recipe_space(hp, unlabeled=True)
    assert recipe.apply(compile_(plain_model())).terms == []
    # A regression has no pseudo-labels.
    recipe = recipe_space(keras_tuner.HyperParameters(), True, thresholds=(0.0,))
    assert recipe.terms[0]["config"]["threshold"] is None


def test_it_wants_a_compiled_model():
    recipe = recipe_space(keras_tuner.HyperParameters())
    with pytest.raises(ValueError, match="call `compile` first"):
        recipe.apply(plain_model())


# Policies of several layers -----------------------------------------------------------


def deep_model(**arguments):
    policy = Policy({"class_mixing": (0.5, 0.5), "gaussian_noise": (0.5, 0.5)})
    model = keras_modals.augment(plain_model(), policy=policy, seed=0, **arguments)
    return compile_(model)


@pytest.mark.backend
def test_a_schedule_has_a_policy_for_each_layer(rng, tmp_path):
    x, y = make_data(rng)
    model = deep_model()
    assert len(model.policies) == 3

    def policies(number):
        first, second, last = model.policies
        return [
            first.with_values([number], [0.5]),
            second.with_values([0.3], [number]),
            last.with_values([0.5, number], [0.5, 0.5]),
        ]

    schedule = PolicySchedule([(1, policies(0.25)), (2, policies(0.75))])
    schedule.save(tmp_path / "schedule.json")
    assert PolicySchedule.load(tmp_path / "schedule.json") == schedule
    model.fit(x, y, epochs=1, callbacks=[PolicyScheduler(schedule, 3)], verbose=0)
    assert model.policies == policies(0.25)
    model.fit(x, y, epochs=3, callbacks=[PolicyScheduler(schedule)], verbose=0)
    assert model.policies == policies(0.75)


def test_one_policy_for_all_layers():
    """The last layer has the whole policy, and the others have the part that mixes."""
    model = deep_model()
    policy = model.policies[-1].with_values([0.1, 0.2], [0.3, 0.4])
    model.policies = policy
    part = policy.mixing_part()
    assert part.sub_policies == (("class_mixing", 0.2, 0.4),)
    assert model.policies == [part, part, policy]
    with pytest.raises(ValueError, match="2 policies for 3 layers"):
        model.policies = [part, policy]
    with pytest.raises(ValueError, match="the operations and operation counts"):
        model.policies = [policy, part, policy]


def test_schedules_with_other_layers_are_refused():
    one = Policy({"class_mixing": (0.5, 0.5)})
    with pytest.raises(ValueError, match="same operations"):
        PolicySchedule([(1, one), (1, [one, one])])
    with pytest.raises(ValueError, match="or one for each layer"):
        PolicySchedule([(1, [one, None])])


def test_a_space_has_a_policy_for_each_layer(rng, tmp_path):
    x, y = make_data(rng)
    operations = ["class_mixing"]

    def build(hp):
        policies = policy_space(hp, operations, 1, (0.0, 1.0), layers=3)
        model = keras_modals.augment(plain_model(), policy=policies, seed=0)
        return compile_(model)

    tuner = keras_modals.tuners.PopulationBasedTuner(
        build,
        "val_loss",
        population_size=2,
        generations=2,
        epochs_per_generation=1,
        initial="random",
        seed=0,
        directory=tmp_path,
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    policies = tuner.best_schedule().segments[-1].policy
    assert len(policies) == 3
    # This is so even for a member whose probabilities begin at 0.
    assert tuner.best_model().warmup_steps == 100
    assert tuner.best_model().policies == list(policies)


def test_the_values_of_a_space_are_those_of_the_layers():
    hp = keras_tuner.HyperParameters()
    policy_space(hp, ["class_mixing"], 1, (0.0, 1.0), layers=3)
    for layer in range(3):
        hp.values[f"policy/{layer}/class_mixing/0/probability"] = 2 * layer
        hp.values[f"policy/{layer}/class_mixing/0/magnitude"] = 5
    declared = policy_space(hp, ["class_mixing"], 1, (0.0, 1.0), layers=3)
    assert list(policy_from_values(hp.values)) == declared
    pairs = [policy.operations["class_mixing"] for policy in declared]
    assert pairs == [[(0.0, 0.5)], [(0.2, 0.5)], [(0.4, 0.5)]]


@pytest.mark.parametrize("num_views", [1, 2])
def test_a_search_in_one_training_goes_through_several_layers(num_views, rng):
    """It searches the last policy. Other layers keep theirs, and act on all members."""
    x, y = make_data(rng)
    model = deep_model(num_views=num_views)
    search = keras_modals.SharedEncoderSearch(
        model, population_size=3, epochs_per_generation=1, seed=0
    )
    search.fit(x, y, validation_data=(x, y), epochs=3, verbose=0)
    best = search.best_model()
    assert best.policies[:2] == model.policies[:2]
    assert best.policies == list(search.best_schedule().segments[-1].policy)
    assert best.output_shape == (None, NUM_CLASSES)
    assert float(
        array(search.latent_augmentation.encoder_shares).sum()
    ) == pytest.approx(1)


@pytest.mark.backend
@pytest.mark.parametrize("num_views", [1, 2])
def test_a_search_in_one_training_of_masked_sequences(num_views, rng):
    tokens = rng.integers(1, 9, (48, 6)).astype("int32")
    tokens[:, 4:] *= rng.integers(0, 2, (48, 2))
    labels = np.arange(48) % NUM_CLASSES
    inputs = keras.Input((6,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    hidden = keras.layers.LSTM(4)(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    model = keras_modals.augment(
        keras.Model(inputs, outputs), seed=0, num_views=num_views, warmup_steps=0
    )
    compile_(model)
    search = keras_modals.SharedEncoderSearch(model, population_size=3, seed=0)
    logs = search.fit(
        tokens,
        labels,
        validation_data=(tokens, labels),
        batch_size=16,
        epochs=2,
        verbose=0,
    ).history
    assert np.all(np.isfinite(logs["val_loss"]))
    np.testing.assert_allclose(
        search.best_model().predict(tokens, verbose=0),
        search.predict(tokens, verbose=0),
        rtol=1e-5,
    )


def test_a_search_refuses_a_mask_that_goes_past_its_layer():
    inputs = keras.Input((6,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4, mask_zero=True, name="words")(inputs)
    hidden = keras.layers.LSTM(4)(hidden)
    outputs = keras.layers.Dense(NUM_CLASSES, "softmax")(hidden)
    model = keras_modals.augment(keras.Model(inputs, outputs), "words")
    with pytest.raises(ValueError, match="A mask bypasses the layer"):
        keras_modals.SharedEncoderSearch(model)
