import keras
import numpy as np
import problems
import pytest
from keras import layers
from portable import BACKEND, tensorflow_only

import keras_modals
from keras_modals import Policy, PolicyScheduler, SharedEncoderSearch
from keras_modals._src.models.graph import find_layers

#: Policies with one operation, which is quick to trace.
ZERO = Policy({"difference_transform": (0.0, 0.0)}, operation_counts=(0.0, 1.0))
STRONG = Policy({"difference_transform": (0.5, 0.5)}, operation_counts=(0.0, 1.0))


def head_model(*head):
    """Returns a plain model whose head, after `latents`, has the given layers."""
    inputs = keras.Input((problems.FEATURES,))
    latents = layers.Dense(6, "relu", name="latents")(inputs)
    x = latents
    for layer in head:
        x = layer(x)
    return keras.Model(
        inputs, layers.Dense(problems.NUM_CLASSES, "softmax", name="output")(x)
    )


def long_head():
    return head_model(
        # The gradient of a bias before a normalization is only noise.
        layers.Dense(5, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01)),
        layers.BatchNormalization(momentum=0.5),
        layers.ReLU(),
        layers.LayerNormalization(),
        layers.Dense(4, "tanh"),
    )


def make_search(model=None, size=4, optimizer="adam", search=None, **layer):
    layer = {"policy": ZERO, "num_views": 2, **layer}
    modals = keras_modals.augment(model or problems.plain_model(), "latents", **layer)
    problems.compile_(modals, optimizer)
    return SharedEncoderSearch(modals, size, **{"seed": 0, **(search or {})})


def fit(model, data, epochs=2, **arguments):
    x, y = data
    return model.fit(
        x,
        y,
        **{
            "validation_data": (x[:30], y[:30]),
            "batch_size": 40,
            "epochs": epochs,
            "shuffle": False,
            "verbose": 0,
            **arguments,
        },
    )


@pytest.fixture
def data(rng):
    return problems.make_data(rng)


def heads_of(search):
    return [keras.ops.convert_to_numpy(weight) for weight in search.heads.weights]


# Correctness ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "vectorized"),
    [
        (lambda: keras.optimizers.Adam(0.01), False),
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.05), True),
        (lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1), True),
    ],
    ids=["adam", "clipnorm", "global_clipnorm"],
)
def test_one_member_without_policy_is_plain_training(data, optimizer, vectorized):
    plain = problems.compile_(long_head(), optimizer())
    search = make_search(plain, 1, optimizer(), {"vectorized": vectorized}, num_views=1)
    fit(plain, data)
    fit(search, data)
    np.testing.assert_allclose(
        search.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), atol=1e-5
    )
    np.testing.assert_allclose(
        search.evaluate(*data, verbose=0), plain.evaluate(*data, verbose=0), atol=1e-5
    )


def test_a_population_that_cannot_change_is_plain_training(data):
    plain = problems.compile_(long_head(), keras.optimizers.SGD(0.1))
    stay = {"explore": stay_at_level}
    search = make_search(plain, 4, keras.optimizers.SGD(0.1), stay, num_views=3)
    fit(plain, data)
    fit(search, data)
    # Views repeat rows, which changes the variance that is not a batch's mean.
    np.testing.assert_allclose(
        search.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), atol=1e-5
    )


def stay_at_level(levels, value, rng):
    return value


@pytest.mark.parametrize(
    "policy", [ZERO, Policy.constant(0.5, 0.5, repeats=1)], ids=["zero", "strong"]
)
def test_vectorized_heads_equal_single_ones(data, policy):
    predictions = []
    for vectorized in (True, False):
        keras.utils.set_random_seed(1)
        search = make_search(
            long_head(),
            3,
            "sgd",
            {"vectorized": vectorized, "initial": "policy"},
            policy=policy,
            seed=0,
        )
        assert search.heads.is_stacked == vectorized
        fit(search, data, epochs=5)
        predictions.append([search.predict(data[0], verbose=0), *heads_of(search)])
    for stacked, single in zip(*predictions, strict=True):
        np.testing.assert_allclose(stacked, single, atol=1e-5)


@pytest.mark.parametrize(("vectorized", "clipnorm"), [(True, 0.05), (False, None)])
def test_members_are_independent(data, vectorized, clipnorm):
    """Perturbs one member. Within a step, the other members, and the encoder, which
    follows the first, move as they would without the perturbation."""
    x, y = data
    results = []
    for perturbed in (False, True):
        keras.utils.set_random_seed(1)
        search = make_search(
            long_head(),
            4,
            keras.optimizers.Adam(0.01, clipnorm=clipnorm),
            {
                "vectorized": vectorized,
                "initial": "policy",
                "encoder_gradient": "best",
            },
            policy=STRONG,
            dropout=0.3,
            seed=0,
        )
        if perturbed:
            for weight in search.heads.trainable_weights:
                value = keras.ops.convert_to_numpy(weight).copy()
                value[2] += 1.0
                weight.assign(value)
        search.train_on_batch(x, y)
        encoder = keras.ops.convert_to_numpy(search.get_layer("latents").kernel)
        results.append((encoder, heads_of(search)))
    (encoder, heads), (other_encoder, other_heads) = results
    np.testing.assert_array_equal(encoder, other_encoder)
    differs = False
    for value, other in zip(heads, other_heads, strict=True):
        for member in (0, 1, 3):
            np.testing.assert_allclose(value[member], other[member], atol=1e-7)
        differs |= not np.allclose(value[2], other[2], atol=1e-3)
    assert differs


def test_the_mean_gradient_is_that_of_all_members(data):
    """With SGD, the encoder moves by the mean of its moves with single members."""
    x, y = data
    moves = []
    for size, member in ((3, None), (1, 0), (1, 1), (1, 2)):
        keras.utils.set_random_seed(1)
        search = make_search(
            None,
            size,
            keras.optimizers.SGD(0.1),
            {"encoder_gradient": "mean"},
        )
        noise = np.random.default_rng(0)
        for weight in search.heads.weights:
            values = noise.normal(size=(3, *weight.shape[1:]))
            weight.assign(values if member is None else values[member : member + 1])
        kernel = search.get_layer("latents").kernel
        before = keras.ops.convert_to_numpy(kernel).copy()
        search.train_on_batch(x, y)
        moves.append(keras.ops.convert_to_numpy(kernel) - before)
    together, *alone = moves
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    assert not np.allclose(alone[0], alone[1], atol=1e-3)


def test_weights_of_the_encoders_gradient_follow_scores(data):
    search = make_search(None, 4, "sgd", {"encoder_gradient": "weighted"})
    shares = search.latent_augmentation.encoder_shares
    np.testing.assert_allclose(shares, 0.25)
    search.member_scores.total.assign([1.0, 3.0, 1.0, 3.0])
    search.member_scores.count.assign(1.0)
    search.end_epoch()
    weights = np.exp([0.0, -2.0, 0.0, -2.0])
    np.testing.assert_allclose(shares, weights / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("encoder_gradient", ["best", "mean", "weighted"])
def test_a_member_that_is_not_a_number_leaves_the_others_alone(data, encoder_gradient):
    search = make_search(None, 4, search={"encoder_gradient": encoder_gradient})
    kernel, *_ = search.heads.weights
    value = keras.ops.convert_to_numpy(kernel).copy()
    value[3] = np.nan
    kernel.assign(value)
    fit(search, data, epochs=1)
    # The member was replaced immediately.
    for value in heads_of(search):
        assert np.isfinite(value).all()
    assert np.isfinite(search.get_layer("latents").kernel).all()


def test_children_take_over_weights_and_the_optimizers_slots(data):
    search = make_search(None, 4, search={"epochs_per_generation": 1, "quantile": 0.5})
    fit(search, data, epochs=1)
    before = slots_of(search)
    noise = np.random.default_rng(0)
    for variable in before:
        variable.assign(noise.normal(size=variable.shape))
    before = {id(v): np.array(keras.ops.convert_to_numpy(v)) for v in before}
    search.member_scores.total.assign([4.0, 3.0, 2.0, 1.0])
    search.member_scores.count.assign(1.0)
    search.end_epoch()
    parents = search.population.records[-1]["parents"]
    assert len(set(parents)) < 4
    for variable in slots_of(search):
        np.testing.assert_array_equal(variable, before[id(variable)][parents])


def slots_of(search):
    """Returns two weights, and Adam's two moments of each."""
    stacked = [v for v in search.optimizer.variables if v.shape[:1] == (4,)]
    assert len(stacked) == 4
    return [*search.heads.weights, *stacked]


@pytest.mark.backend
def test_the_head_keeps_the_precision_of_logits(data):
    """On TensorFlow, Keras uses the logits before a softmax. On other backends,
    precision ends at a probability of 1e-7."""
    search = make_search(None, 2)
    kernel = search.heads.weights[0]
    kernel.assign(1e3 * np.ones(kernel.shape) * np.arange(problems.NUM_CLASSES))
    best = search.best_model()
    expected = best.evaluate(*data, verbose=0, return_dict=True)["loss"]
    assert expected > 100 or BACKEND != "tensorflow"
    actual = search.evaluate(*data, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("vectorized", [True, False])
def test_members_draw_for_themselves(data, vectorized):
    """With dropout in the head, a child does not repeat its parent's draws."""
    head = head_model(layers.Dropout(0.5, seed=0))
    search = make_search(head, 4, "sgd", {"vectorized": vectorized, "quantile": 0.5})
    states = [
        variable
        for variable in search.heads.weights
        if not any(variable is v for v in search.heads.member_variables)
    ]
    assert len(states) == 1
    fit(search, data, epochs=3)
    first = keras.ops.convert_to_numpy(states[0])
    assert len(np.unique(first, axis=0)) == 4
    fit(search, data, epochs=3)
    # Every step advanced the state.
    assert keras.ops.convert_to_numpy(states[0])[0, 1] > first[0, 1]
    search.reseed(5)
    again = keras.ops.convert_to_numpy(states[0]).copy()
    search.reseed(5)
    np.testing.assert_array_equal(states[0], again)


# Search -----------------------------------------------------------------------


def test_scores_are_the_members_validation_losses(data):
    x, y = data
    search = make_search(None, 3, search={"initial": "random"}, policy=STRONG)
    fit(search, data, epochs=1)
    scores = search.population.records[0]["scores"]
    parents = search.population.records[0]["parents"]
    for position, member in enumerate(parents):
        single = search.best_model()
        for target, value in search.heads.member_weights(position, single):
            target.assign(value)
        loss = single.evaluate(x[:30], y[:30], verbose=0, return_dict=True)["loss"]
        np.testing.assert_allclose(scores[member], loss, rtol=1e-4)


def test_errors_can_be_the_scores(data):
    search = make_search(None, 3, search={"objective": "val_accuracy"})
    history = fit(search, data, epochs=2).history
    first = search.population.records[0]["scores"][0]
    np.testing.assert_allclose(1 - first, history["val_accuracy"][0], atol=1e-6)


def test_what_differs_by_member_is_searched_and_scheduled(data):
    search = make_search(
        None,
        4,
        search={"epochs_per_generation": 1, "quantile": 0.5},
        policy=STRONG,
        dropout=0.1,
        num_views=3,
    )
    fit(search, data, epochs=8)
    (dropout,) = find_layers(search.heads.head, keras_modals.LatentDropout)
    values = search.population.values
    assert len(np.unique(values, axis=0)) > 1
    rates = search.heads.stack_of(dropout.rate)
    np.testing.assert_allclose(rates, values[:, 2], atol=1e-6)
    schedule = search.best_schedule()
    assert schedule.epochs == 8
    assert set(schedule.segments[-1].values) == {"dropout"}

    model = search.best_model()
    fit(model, data, epochs=8, callbacks=[PolicyScheduler(schedule)])
    assert model.latent_augmentation.policy == schedule.segments[-1].policy


def test_weights_that_members_share_are_tried_over_time(data):
    modals = keras_modals.augment(problems.plain_model(), "latents", policy=ZERO)
    problems.compile_(modals, "adam", triplet_weight=0.2)
    search = SharedEncoderSearch(modals, 2, epochs_per_generation=1, seed=0)
    fit(search, data, epochs=12)
    tried = [record["shared"][0] for record in search.population.records]
    assert tried[0] == pytest.approx(0.2)
    assert len(set(tried)) > 1
    weights = [s.values["triplet_weight"] for s in search.best_schedule().segments]
    assert set(weights) == {float(value) for value in tried}
    (weight,) = search.term_weights.values()
    assert float(weight) == pytest.approx(search.population.shared[0])


@tensorflow_only
def test_nothing_is_traced_again(data):
    search = make_search(None, 3, search={"epochs_per_generation": 1}, dropout=0.0)
    search.run_eagerly = False
    traces = []
    train_step = search.train_step

    def counting(batch):
        traces.append(1)
        return train_step(batch)

    search.train_step = counting
    fit(search, data, epochs=2)
    count = len(traces)
    assert count > 0
    fit(search, data, epochs=6)
    assert len(traces) == count


# Results ----------------------------------------------------------------------


def test_the_best_model_predicts_saves_and_trains(data, tmp_path):
    search = make_search(None, 3, policy=STRONG, dropout=0.2)
    given = search.get_layer("hidden").get_weights()
    fit(search, data, epochs=4)
    best = search.best_model()
    expected = search.predict(data[0], verbose=0)
    np.testing.assert_allclose(best.predict(data[0], verbose=0), expected, atol=1e-6)
    assert best.latent_augmentation.policy == search.latent_augmentation.policy
    np.testing.assert_array_equal(
        best.latent_augmentation.memory.latents,
        search.latent_augmentation.memory.latents,
    )
    best.save(tmp_path / "best.keras")
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(loaded.predict(data[0], verbose=0), expected, atol=1e-6)
    plain = search.inference_model()
    np.testing.assert_allclose(plain.predict(data[0], verbose=0), expected, atol=1e-6)
    fit(best, data, epochs=1)
    # Training `best` does not change the search, which has changed the given weights.
    np.testing.assert_allclose(search.predict(data[0], verbose=0), expected, atol=1e-6)
    assert not np.allclose(given[0], search.get_layer("hidden").get_weights()[0])


@pytest.mark.parametrize("objective", ["val_loss", "val_accuracy"])
def test_results_are_printed_for_each_generation(objective, data, capsys):
    settings = {"epochs_per_generation": 2, "objective": objective, "smoothing": 0.0}
    search = make_search(None, 3, search=settings)
    history = fit(search, data, epochs=5).history
    search.results_summary()
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith(f"smoothed {objective}, ")
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    best, mean, worst = (float(number) for number in lines[0].split()[1:4])
    sign = 1 if objective == "val_accuracy" else -1
    assert sign * best >= sign * mean >= sign * worst
    if objective == "val_accuracy":
        # Nothing is moved yet, and members are identical.
        assert best == pytest.approx(history["val_accuracy"][1], abs=1e-4)


def test_the_given_model_is_left_as_it_is(data):
    model = problems.compile_(problems.modals_model())
    before = [np.array(weight) for weight in model.get_weights()]
    fit(SharedEncoderSearch(model, 3), data, epochs=2)
    for value, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_plain_model_is_augmented(data):
    search = SharedEncoderSearch(problems.compile_(problems.plain_model()), 3)
    assert len(search.latent_augmentation.policy.sub_policies) == 5
    assert find_layers(search.heads.head, keras_modals.LatentDropout)
    fit(search, data)
    assert search.best_schedule().epochs == 2


def test_only_heads_are_kept_once_per_member(data):
    search = make_search(None, 5)
    model = search.best_model()
    heads = sum(np.size(w) for w in search.heads.weights)
    head = sum(np.size(w) for w in model.get_layer("head").weights)
    assert heads == 5 * head
    others = search.count_params() - heads
    # Policies, scores and the like.
    assert others - (model.count_params() - head) < 200


# Like `fit` -------------------------------------------------------------------


def test_a_search_that_is_saved_goes_on_as_if_it_were_not(data, tmp_path):
    def make():
        keras.utils.set_random_seed(3)
        head = head_model(layers.Dense(5, "relu"), layers.Dropout(0.2, seed=0))
        model = keras_modals.augment(
            head, "latents", policy=STRONG, num_views=2, dropout=0.1, seed=0
        )
        problems.compile_(model, "adam", triplet_weight=0.2)
        return SharedEncoderSearch(model, 4, epochs_per_generation=1, seed=0)

    whole = make()
    fit(whole, data, epochs=6)
    half = make()
    fit(half, data, epochs=3)
    half.save(tmp_path / "search.keras")
    loaded = keras.models.load_model(tmp_path / "search.keras")
    fit(loaded, data, epochs=6, initial_epoch=3)
    assert loaded.best_schedule() == whole.best_schedule()
    for value, expected in zip(loaded.weights, whole.weights, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)


def test_a_search_that_was_killed_is_resumed(data, tmp_path):
    def make():
        keras.utils.set_random_seed(3)
        return make_search(None, 4, search={"epochs_per_generation": 1}, policy=STRONG)

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    whole = make()
    fit(whole, data, epochs=6)
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), data, epochs=6, callbacks=[backup, Kill()])
    resumed = make()
    fit(resumed, data, 6, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    assert resumed.best_schedule() == whole.best_schedule()
    np.testing.assert_allclose(
        resumed.predict(data[0], verbose=0),
        whole.predict(data[0], verbose=0),
        atol=1e-6,
    )


def test_early_stopping_goes_back_to_the_best_epoch(data):
    search = make_search(None, 4, "sgd", {"epochs_per_generation": 1}, policy=STRONG)
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=2, restore_best_weights=True, start_from_epoch=2
    )
    # From epoch 3 on, the model gets worse.
    rates = keras.callbacks.LearningRateScheduler(
        lambda epoch: 0.1 if epoch < 3 else -1.0
    )
    fit(search, data, epochs=12, callbacks=[stopping, rates])
    epochs = stopping.best_epoch + 1
    assert epochs < 12
    assert search.best_schedule().epochs == epochs == len(search.population.records)
    fit(search, data, epochs=2)
    assert search.best_schedule().epochs == epochs + 2


def test_the_seed_decides(data):
    def values(seed):
        keras.utils.set_random_seed(3)
        search = make_search(
            None, 4, search={"seed": seed, "epochs_per_generation": 1}, policy=STRONG
        )
        fit(search, data, epochs=5)
        return search.population.values

    first = values(1)
    np.testing.assert_array_equal(values(1), first)
    assert not np.array_equal(values(2), first)


def test_mixed_precision(data):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = long_head()
        search = make_search(
            model, 3, keras.optimizers.Adam(0.01, clipnorm=1.0), policy=STRONG
        )
        history = fit(search, data, epochs=6).history
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert np.isfinite(history["val_loss"]).all()
    assert history["val_loss"][-1] < history["val_loss"][0]
    for weight in search.heads.weights:
        assert keras.backend.standardize_dtype(weight.dtype) == "float32"


def test_class_and_sample_weights_and_datasets(data):
    tf = pytest.importorskip("tensorflow")
    x, y = data
    search = make_search(None, 3)
    weights = np.linspace(0, 1, len(x))
    fit(search, data, epochs=1, sample_weight=weights)
    fit(search, data, epochs=1, class_weight={0: 1, 1: 2, 2: 0.5})
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    search.fit(dataset, validation_data=dataset, epochs=2, shuffle=False, verbose=0)
    assert search.best_schedule().epochs == 4


# Graphs -----------------------------------------------------------------------


def test_a_branch_goes_past_the_augmentation(data):
    x, _ = data
    inputs = keras.Input((problems.FEATURES,))
    hidden = layers.Dense(16, "relu", name="hidden")(inputs)
    latents = layers.Dense(6, name="latents")(hidden)
    both = layers.Concatenate()([latents, hidden])
    outputs = layers.Dense(problems.NUM_CLASSES, "softmax", name="head")(both)
    plain = problems.compile_(keras.Model(inputs, outputs), "sgd")
    still = {"explore": stay_at_level}
    search = make_search(plain, 3, "sgd", still, num_views=1)
    assert not search.heads.is_stacked
    fit(plain, data)
    fit(search, data)
    expected = plain.predict(x, verbose=0)
    np.testing.assert_allclose(search.predict(x, verbose=0), expected, atol=1e-5)
    best = search.best_model()
    np.testing.assert_allclose(best.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("structure", [list, dict])
def test_several_outputs(data, structure):
    x, y = data
    inputs = keras.Input((problems.FEATURES,))
    hidden = layers.Dense(16, "relu")(inputs)
    size = layers.Dense(1, name="size")(hidden)
    latents = layers.Dense(6)(hidden)
    latents = keras_modals.LatentAugmentation(problems.NUM_CLASSES, ZERO, seed=0)(
        latents
    )
    kind = layers.Dense(problems.NUM_CLASSES, "softmax", name="kind")(latents)
    sign = layers.Dense(1, "sigmoid", name="sign")(latents)
    outputs = [size, kind, sign]
    if structure is dict:
        outputs = dict(zip(("size", "kind", "sign"), outputs, strict=True))
    model = keras_modals.ModalsModel(inputs, outputs, label_output="kind")
    loss = {
        "size": "mse",
        "kind": "sparse_categorical_crossentropy",
        "sign": "binary_crossentropy",
    }
    model.compile("adam", loss, metrics={"kind": ["accuracy"]}, jit_compile=False)
    targets = {
        "size": x[:, :1],
        "kind": y,
        "sign": (x[:, 1:2] > 0).astype("float32"),
    }
    if structure is list:
        targets = list(targets.values())
    search = SharedEncoderSearch(model, 3)
    history = search.fit(
        x, targets, validation_data=(x, targets), epochs=2, verbose=0
    ).history
    assert {"val_kind_accuracy", "val_size_loss"} <= set(history)
    for actual, expected in zip(
        keras.tree.flatten(search.best_model().predict(x, verbose=0)),
        keras.tree.flatten(search.predict(x, verbose=0)),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def two_outputs(latents):
    first = layers.Dense(problems.NUM_CLASSES, "softmax", name="first")(latents)
    return [first, layers.Dense(problems.NUM_CLASSES, "softmax", name="second")(first)]


HEADS = {
    "operations": lambda z: keras.ops.softmax(
        layers.Dense(3)(keras.ops.relu(layers.Dense(6)(z)) * 3.0)
    ),
    "softmax layer": lambda z: layers.Softmax()(layers.Dense(3)(z)),
    "activation layer": lambda z: layers.Activation("softmax")(layers.Dense(3)(z)),
    "no weights": lambda z: layers.Activation("softmax")(z),
    "inner output": two_outputs,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_of_any_kind(data, head):
    x, y = data
    inputs = keras.Input((problems.FEATURES,))
    latents = layers.Dense(problems.NUM_CLASSES)(inputs)
    latents = keras_modals.LatentAugmentation(3, ZERO, seed=0)(latents)
    outputs = head(latents)
    targets, label_output = y, None
    if isinstance(outputs, list):
        targets, label_output = [y, y], "first"
    model = keras_modals.ModalsModel(inputs, outputs, label_output=label_output)
    losses = "sparse_categorical_crossentropy"
    losses = [losses, losses] if label_output else losses
    model.compile("sgd", losses, jit_compile=False)
    search = SharedEncoderSearch(model, 3, explore=stay_at_level)
    for each in (model, search):
        fit(each, (x, targets), validation_data=(x, targets))
    for actual, other, expected in zip(
        keras.tree.flatten(search.predict(x, verbose=0)),
        keras.tree.flatten(search.best_model().predict(x, verbose=0)),
        keras.tree.flatten(model.predict(x, verbose=0)),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
        np.testing.assert_allclose(other, expected, atol=1e-5)


def test_an_output_of_its_own_precision(data):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = head_model()
        model.get_layer("output").dtype_policy = keras.DTypePolicy("float32")
        search = make_search(model, 2)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert search.predict(data[0], verbose=0).dtype == "float32"
    assert keras.backend.standardize_dtype(search.output.dtype) == "float32"


# Errors -----------------------------------------------------------------------


def test_a_layer_on_both_sides():
    shared = layers.Dense(6)
    inputs = keras.Input((6,))
    latents = keras_modals.LatentAugmentation(3, ZERO)(shared(inputs))
    outputs = layers.Dense(3, "softmax")(shared(latents))
    with pytest.raises(ValueError, match="before and after"):
        SharedEncoderSearch(keras_modals.ModalsModel(inputs, outputs, num_views=1))


def test_a_training_step_of_its_own():
    class OtherStep(keras_modals.ModalsModel):
        def train_step(self, *args):
            return {}

    inputs = keras.Input((6,))
    latents = keras_modals.LatentAugmentation(3, ZERO)(inputs)
    outputs = layers.Dense(3, "softmax")(latents)
    with pytest.raises(ValueError, match="`OtherStep` overrides: train_step"):
        SharedEncoderSearch(OtherStep(inputs, outputs))


def test_policies_of_members_are_the_searchs(data):
    search = make_search(None, 2)
    with pytest.raises(ValueError, match="best_model"):
        search.latent_augmentation.policy = STRONG


def test_scores_come_from_evaluate(data):
    with pytest.raises(ValueError, match="evaluate"):
        make_search(None, 2).end_epoch()


def test_a_loss_that_cannot_be_saved_is_handed_on(data):
    def loss(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    model = problems.compile_(problems.modals_model(), loss=loss)
    search = SharedEncoderSearch(model, 2)
    assert search.loss is loss
    fit(search, data)
    assert search.best_model().loss is loss


def test_a_loss_of_the_batch_cannot_score_members():
    def loss(y_true, y_pred):
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
        return keras.ops.mean(losses)

    model = problems.compile_(problems.modals_model(), loss=loss)
    with pytest.raises(ValueError, match="one number for all"):
        SharedEncoderSearch(model, 2)
    SharedEncoderSearch(model, 2, objective="val_accuracy")


class Measuring(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = keras.metrics.Mean(name="mean_output")

    def call(self, inputs):
        self.mean.update_state(inputs)
        return inputs


def test_metrics_of_a_heads_layers_are_not_dropped_silently():
    model = problems.modals_model(head_model(Measuring()), layer="latents")
    with pytest.warns(UserWarning, match="mean_output"):
        SharedEncoderSearch(model, 2)


def test_a_search_needs_validation_data(data):
    search = make_search(None, 2)
    with pytest.raises(ValueError, match="validation_data"):
        search.fit(*data, verbose=0)
    search.fit(*data, validation_split=0.25, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 0}, "population_size"),
        ({"epochs_per_generation": 1.5}, "epochs_per_generation"),
        ({"objective": "accuracy"}, "objective"),
        ({"initial": "one"}, "initial"),
        ({"encoder_gradient": "worst"}, "encoder_gradient"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"quantile": 0.7}, "quantile"),
        ({"seed": -1}, "seed"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SharedEncoderSearch(problems.modals_model(), **arguments)


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.Lamb(), keras.optimizers.Adafactor()]
)
def test_optimizers_that_would_couple_members(optimizer):
    with pytest.raises(ValueError, match="couple"):
        make_search(None, 2, optimizer)


def test_a_layer_in_a_nested_model():
    inner_inputs = keras.Input((6,))
    layer = keras_modals.LatentAugmentation(3, ZERO)
    inner = keras.Model(inner_inputs, layer(inner_inputs))
    inputs = keras.Input((8,))
    outputs = layers.Dense(3, "softmax")(inner(layers.Dense(6)(inputs)))
    with pytest.raises(ValueError, match="nested"):
        SharedEncoderSearch(keras_modals.ModalsModel(inputs, outputs, num_views=1))


def test_no_schedule_before_fit():
    with pytest.raises(ValueError, match="fit"):
        make_search(None, 2).best_schedule()
