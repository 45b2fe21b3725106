import warnings

import keras
import numpy as np
import pytest
from contract import check_layer_contract
from keras import ops
from portable import array, compiled, gradients, tensor, tensorflow_only

import keras_modals
from keras_modals import LatentAugmentation, Policy, operations
from keras_modals._src.labels import IGNORED, of_groups
from keras_modals._src.layers import latent_augmentation
from keras_modals._src.layers.moves import NO_OPERATION, Step
from keras_modals._src.layers.step_mixing import StepMixing
from keras_modals._src.layers.step_scope import ONLY, StepScope
from keras_modals._src.memory.class_memory import ClassStatistics
from keras_modals._src.memory.hardness import STATISTICAL_HARDNESS, latent_hardness
from keras_modals._src.operations.hard_interpolation import CANDIDATE_POOL, CANDIDATES
from keras_modals._src.rows import RowMap
from keras_modals.operations import DifferenceTransform, HardInterpolation

NUM_CLASSES, FEATURES, BATCH = 3, 4, 6
NAMES = operations.PAPER_OPERATIONS


def one(operation, magnitude=0.5):
    return Policy({operation: (1.0, magnitude)}, operation_counts=(0.0, 1.0))


def filled(rng, policy, per_class=10, **arguments):
    """Returns a layer with `per_class` latents around a different center per class."""
    if any(operation.needs_memory for operation in policy.by_name.values()):
        arguments.setdefault("memory_size", 20)
    arguments.setdefault("seed", 0)
    layer = LatentAugmentation(NUM_CLASSES, policy, **arguments)
    layer.build((None, FEATURES))
    labels = np.repeat(np.arange(NUM_CLASSES), per_class).astype("int32")
    latents = rng.normal(size=(len(labels), FEATURES)) + 10 * labels[:, None]
    layer.remember(latents.astype("float32"), labels)
    return layer, latents.astype("float32"), labels


def injected(rng, num_rows, sub_policy=0, magnitude=0.5):
    def uniform(*shape):
        return rng.uniform(size=(num_rows, *shape)).astype("float32")

    return Step(
        sub_policy=np.full(num_rows, sub_policy, "int32"),
        magnitude=np.full(num_rows, magnitude, "float32"),
        uniform={name: uniform(operations.get(name).num_uniform) for name in NAMES},
        noise=rng.normal(size=(num_rows, FEATURES)).astype("float32"),
    )


#: Rows of a step with one moved view, and with a clean view in addition to moved ones.
ONE = RowMap(BATCH)
TWO = RowMap(BATCH, 2, True)


def apply(layer, latents, labels, *steps, rows=ONE):
    """Calls `layer.apply` on tensors, with a sequence of draws in NumPy."""
    steps = keras.tree.map_structure(ops.convert_to_tensor, list(steps))
    return layer.apply(tensor(latents), tensor(labels, "int32"), steps, rows)


def expected_move(name, z, label, index, labels, held, hardness, draw, donors):
    """Moves one latent in plain Python. Held latents are in the order of slots."""
    own = held[label]
    m = draw.magnitude[index]
    uniform = {each: numbers[index] for each, numbers in draw.uniform.items()}[name]
    if name == "hard_extrapolation":
        return z + m * (z - own.mean(0))
    if name == "gaussian_noise":
        return z + m * draw.noise[index] * own.std(0)
    if name == "difference_transform":
        pool = own
        if donors == "any":
            pool = held[labels[int(uniform[0] * len(labels))]]
        count = len(pool)
        first = int(uniform[1] * count)
        second = (first + 1 + int(uniform[2] * (count - 1))) % count
        assert first != second
        return z + m * (pool[first] - pool[second])
    best = []
    where, choice = uniform.reshape(2, CANDIDATES, CANDIDATE_POOL)
    for candidate in range(CANDIDATES):
        slots = (where[candidate] * len(own)).astype(int)
        score = hardness[label][slots] - np.log(-np.log(choice[candidate]))
        best.append(own[slots[score.argmax()]])
    centred = z - own.mean(0)
    cosines = [
        (h - own.mean(0))
        @ centred
        / np.linalg.norm(h - own.mean(0))
        / np.linalg.norm(centred)
        for h in best
    ]
    return z + m * (best[int(np.argmax(cosines))] - z)


@pytest.mark.parametrize("donors", ["class", "any"])
@pytest.mark.parametrize("name", NAMES)
def test_operation_matches_loops_with_injected_draws(name, donors, rng):
    options = {"difference_transform": {"donors": donors}}
    options["hard_interpolation"] = {"hardness": "l2"}
    operation = operations.get(name, options.get(name))
    layer, held_latents, held_labels = filled(rng, one(operation))
    held = [held_latents[held_labels == label] for label in range(NUM_CLASSES)]
    hardness = None
    if name == "hard_interpolation":
        hardness = [
            array(layer.memory.take_hardness(np.full(10, label), np.arange(10)))
            for label in range(NUM_CLASSES)
        ]
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1], "int32")
    draw = injected(rng, BATCH)
    outputs, _ = apply(layer, latents, labels, draw)
    for index in range(BATCH):
        expected = expected_move(
            name,
            latents[index],
            labels[index],
            index,
            labels,
            held,
            hardness,
            draw,
            donors,
        )
        np.testing.assert_allclose(outputs[index], expected, rtol=1e-4, atol=1e-4)


def test_operations_compose(rng):
    policy = Policy({"hard_extrapolation": (1, 0.5), "gaussian_noise": (1, 0.5)})
    layer, held, held_labels = filled(rng, policy)
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.zeros(BATCH, "int32")
    first, second = injected(rng, BATCH, 1, 0.3), injected(rng, BATCH, 0, 0.7)
    outputs, _ = apply(layer, latents, labels, first, second)
    own = held[held_labels == 0]
    after_first = latents + 0.3 * first.noise * own.std(0)
    expected = after_first + 0.7 * (after_first - own.mean(0))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4)


def test_no_operation_is_the_identity(rng):
    layer, _, _ = filled(rng, Policy.constant(0.5, 0.5))
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    draw = injected(rng, BATCH, NO_OPERATION)
    outputs, _ = apply(layer, latents, np.zeros(BATCH), draw, draw)
    np.testing.assert_array_equal(outputs, latents)


@pytest.mark.parametrize("per_class", [0, 1])
@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("hard_interpolation", 1),
        ("hard_extrapolation", 1),
        ("gaussian_noise", 2),
        (DifferenceTransform(donors="class"), 2),
    ],
)
def test_small_classes_are_left_alone(name, required, per_class, rng):
    layer, _, _ = filled(rng, one(name), per_class=max(per_class, 1))
    if per_class == 0:
        for variable in layer.memory.weights:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1], "int32")
    outputs, _ = apply(layer, latents, labels, injected(rng, BATCH))
    moved = np.any(array(outputs) != latents, axis=1)
    assert np.all(np.isfinite(array(outputs)))
    assert np.all(moved == (per_class >= required))


@pytest.mark.parametrize("name", NAMES)
def test_samples_without_a_class_are_left_alone(name, rng):
    layer, _, _ = filled(rng, one(name))
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, IGNORED, 2, IGNORED, 2, 1], "int32")
    outputs, touched = apply(layer, latents, labels, injected(rng, BATCH))
    ignored = labels == IGNORED
    np.testing.assert_array_equal(array(outputs)[ignored], latents[ignored])
    assert not array(touched)[ignored].any()


@pytest.mark.parametrize("shape", [(8,), (4, 3), (2, 3, 2)])
def test_identity_at_inference(shape, rng):
    layer = LatentAugmentation(NUM_CLASSES, Policy.constant(1.0, 1.0))
    latents = rng.normal(size=(BATCH, *shape)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1])
    for arguments in ({}, {"training": False}, {"labels": labels, "training": False}):
        np.testing.assert_array_equal(layer(latents, **arguments), latents)


@pytest.mark.parametrize("shape", [(8,), (4, 3), (2, 3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_by_hand(shape, dtype, rng):
    layer = LatentAugmentation(
        NUM_CLASSES, Policy.constant(1.0, 1.0), dtype=dtype, seed=0
    )
    labels = np.array([0, 1, 2, 0, 2, 1])
    for step in range(3):
        latents = tensor(rng.normal(size=(BATCH, *shape)), layer.compute_dtype)
        outputs = layer(latents, labels=labels, training=True)
        assert outputs.shape == latents.shape
        assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
        outputs, latents = (array(ops.cast(t, "float32")) for t in (outputs, latents))
        assert np.all(np.isfinite(outputs))
        unmoved = np.array_equal(outputs, latents)
        # In the first step, no class has been seen.
        assert unmoved == (step == 0)
    counts = layer.memory.counts(np.arange(NUM_CLASSES, dtype="int32"))
    np.testing.assert_array_equal(counts, [6, 6, 6])


def test_views(rng):
    layer, _, _ = filled(rng, one("hard_extrapolation"))
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = tensor([0, 1, 2, 0, 2, 1], "int32")

    def outputs_of(layer, rows):
        with StepScope(of_groups(labels), rows, places={layer.name: ONLY}):
            return array(layer(latents, training=True))

    outputs = outputs_of(layer, RowMap(BATCH, 4, True))
    outputs = outputs.reshape(4, BATCH, FEATURES)
    np.testing.assert_array_equal(outputs[0], latents)
    assert np.all(outputs[1:] != latents)
    np.testing.assert_array_equal(outputs[1], outputs[2])
    layer, _, _ = filled(rng, one("gaussian_noise"))
    outputs = outputs_of(layer, RowMap(BATCH, 2, False))
    outputs = outputs.reshape(2, BATCH, FEATURES)
    assert np.all(outputs != latents)
    assert np.all(outputs[0] != outputs[1])


def gradient(layer, latents, labels, draw, upstream, rows):
    def total(points):
        outputs, _ = apply(layer, points, labels, draw, rows=rows)
        return ops.sum(outputs * tensor(upstream))

    _, (result,) = gradients(total, latents)
    return result


def test_gradient_to_encoder(rng):
    """It is optional. Without it, the clean view carries the whole gradient."""
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1], "int32")
    policy = one("hard_extrapolation")
    draw = injected(rng, BATCH, magnitude=0.5)
    upstream = rng.normal(size=(2, BATCH, FEATURES)).astype("float32")
    flat = upstream.reshape(-1, FEATURES)

    layer, _, _ = filled(rng, policy, gradient_to_encoder=True)
    result = gradient(layer, latents, labels, draw, flat, TWO)
    np.testing.assert_allclose(result, upstream[0] + 1.5 * upstream[1], rtol=1e-5)

    layer, _, _ = filled(rng, policy)
    result = gradient(layer, latents, labels, draw, flat, TWO)
    np.testing.assert_allclose(result, 2 * upstream[0], rtol=1e-5)

    layer, _, _ = filled(rng, policy, gradient_to_encoder=False)
    draw.sub_policy[:2] = NO_OPERATION
    labels[2] = IGNORED
    result = gradient(layer, latents, labels, draw, upstream[0], ONE)
    np.testing.assert_array_equal(result[:3], upstream[0, :3])
    np.testing.assert_array_equal(result[3:], np.zeros((3, FEATURES)))


def test_gradient_to_encoder_defaults_to_what_trains_it():
    noise = one("gaussian_noise")
    for policy, argument, rows, expected in (
        (noise, None, TWO, False),
        (noise, None, ONE, True),
        (noise, None, RowMap(BATCH, 3, False), True),
        (noise, False, ONE, False),
        (one("class_mixing"), None, TWO, True),
        (one("class_mixing"), False, TWO, False),
        (Policy.constant(0.5, 0.5, (*NAMES, "class_mixing")), None, TWO, False),
    ):
        layer = LatentAugmentation(NUM_CLASSES, policy, gradient_to_encoder=argument)
        assert layer.trains_encoder(rows.has_clean_view) == expected


def test_defaults():
    layer = LatentAugmentation(NUM_CLASSES)
    assert layer.policy == keras_modals.DEFAULT_POLICY
    assert layer.policy.sub_policies == (("class_mixing", 0.5, 0.5),)
    assert layer.gradient_to_encoder is None


SHARES = np.array([[0.0, 0.6, 0.4], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "float32")


@pytest.mark.backend
@pytest.mark.parametrize("form", ["indices", "shares"])
def test_by_hand_with_a_dict_labels_are_mixed_as_latents_are(form, rng):
    """This is what `keras.layers.MixUp` does."""
    layer = LatentAugmentation(3, one("class_mixing"), seed=0)
    latents = rng.normal(size=(3, 4)).astype("float32")
    labels = {"indices": np.array([1, 0, 2]), "shares": SHARES}[form]
    shares = np.eye(3)[[1, 0, 2]] if form == "indices" else SHARES
    ids = np.arange(3)
    inputs = {"latents": latents, "labels": labels, "ids": ids}
    outputs = layer(inputs, training=True)
    assert set(outputs) == {"latents", "labels", "ids"}
    np.testing.assert_array_equal(array(outputs["ids"]), ids)
    moved, mixed = array(outputs["latents"]), array(outputs["labels"])
    assert moved.shape == (3, 4)
    for sample in range(3):
        step = moved[sample] - latents[sample]
        found = []
        for other in {0, 1, 2} - {sample}:
            way = latents[other] - latents[sample]
            weight = step @ way / (way @ way)
            if np.allclose(weight * way, step, atol=1e-5):
                found.append((other, weight))
        ((other, weight),) = found
        assert 0 < weight < 0.5
        expected = shares[sample] + weight * (shares[other] - shares[sample])
        np.testing.assert_allclose(mixed[sample], expected, atol=1e-5)
    still = layer(inputs)
    np.testing.assert_array_equal(array(still["latents"]), latents)
    np.testing.assert_array_equal(array(still["labels"]), labels)


def test_by_hand_a_sample_without_a_label_has_none_and_is_no_partner():
    layer = LatentAugmentation(3, one("class_mixing"), seed=0)
    latents = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], "float32")
    inputs = {"latents": latents, "labels": np.array([0, 1, -1])}
    for _ in range(10):
        outputs = layer(inputs, training=True)
        np.testing.assert_array_equal(array(outputs["latents"])[2], latents[2])
        np.testing.assert_array_equal(array(outputs["labels"])[2], [0, 0, 0])
        # The outputs are between the first two samples.
        np.testing.assert_allclose(array(outputs["latents"])[:2].sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(array(outputs["labels"])[:2].sum(1), 1, rtol=1e-6)


def test_by_hand_with_labels_what_moves_labels_is_left_out(rng):
    policy = Policy({"class_mixing": (1.0, 0.9), "hard_extrapolation": (1.0, 0.5)})
    layer, latents, labels = filled(rng, policy)
    with pytest.warns(UserWarning, match="skips `class_mixing`"):
        outputs = array(layer(latents, labels=labels, training=True))
    mean = np.stack([latents[labels == label].mean(0) for label in range(3)])[labels]
    moved = np.any(outputs != latents, axis=1)
    assert moved.any()
    expected = latents + 0.5 * (latents - mean)
    np.testing.assert_allclose(outputs[moved], expected[moved], rtol=1e-3, atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(latents, labels=labels, training=True)


def test_by_hand_with_all_defaults(rng):
    layer = LatentAugmentation(3)
    latents = rng.normal(size=(6, 4)).astype("float32")
    with pytest.warns(UserWarning, match="returns a dict of both"):
        outputs = layer(latents, labels=np.arange(6) % 3, training=True)
    np.testing.assert_array_equal(array(outputs), latents)


def test_in_a_training_step_a_dict_is_refused():
    layer = LatentAugmentation(3)
    inputs = {"latents": np.ones((2, 3), "float32"), "labels": np.zeros(2)}
    labels = tensor([0, 1], "int32")
    with (
        StepScope(of_groups(labels), RowMap(2)),
        pytest.raises(ValueError, match="in a direct call only"),
    ):
        layer(inputs, training=True)


def test_by_hand_a_dict_needs_both():
    with pytest.raises(ValueError, match="images"):
        LatentAugmentation(3)({"images": np.ones((2, 3)), "labels": np.zeros(2)})


@pytest.mark.parametrize("kind", STATISTICAL_HARDNESS)
def test_hardness_matches_loops(kind, rng):
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1], "int32")
    centres = rng.normal(size=(NUM_CLASSES, FEATURES)).astype("float32")
    statistics = ClassStatistics(tensor([5] * BATCH), tensor(centres[labels]), None)
    result = latent_hardness(kind, tensor(latents), tensor(labels), statistics)
    for z, label, value in zip(latents, labels, result, strict=True):
        own = centres[label]
        others = [np.linalg.norm(z - centres[c]) for c in range(3) if c != label]
        expected = {
            "l2": np.linalg.norm(z - own),
            "cosine": 1 - z @ own / np.linalg.norm(z) / np.linalg.norm(own),
            "margin": np.linalg.norm(z - own) - min(others),
        }[kind]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_margin_knows_no_centre_of_what_was_not_seen(rng):
    latents = rng.normal(size=(3, FEATURES)).astype("float32")
    labels = np.array([0, IGNORED, 1], "int32")
    mean = latents * np.array([[1], [0], [0]], "float32")
    count = np.array([5, 0, 0], "int32")
    statistics = ClassStatistics(count, mean, mean)
    assert float(latent_hardness("margin", latents, labels, statistics)[0]) == 0


def test_margin_of_a_single_class_is_zero(rng):
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.zeros(BATCH, "int32")
    zeros = tensor(0 * latents)
    statistics = ClassStatistics(tensor([5] * BATCH), zeros, zeros)
    hardness = latent_hardness("margin", tensor(latents), tensor(labels), statistics)
    assert not np.any(array(hardness))


def test_hard_examples_are_drawn_in_proportion(rng):
    """One candidate comes from a class of two latents, one of which is harder by log 4.
    It is chosen by Gumbel-max among `CANDIDATE_POOL` uniform draws."""
    layer, _, _ = filled(rng, one("hard_interpolation", 1.0))
    latents = np.zeros((2, FEATURES), "float32")
    latents[0, 0] = latents[1, 1] = 1.0
    for variable in layer.memory.weights:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    layer.remember(latents, np.zeros(2, "int32"), np.array([np.log(4), 0], "float32"))
    size = 20_000
    batch, labels = tensor(np.full((size, FEATURES), 0.3)), tensor([0] * size, "int32")
    rows = RowMap(size)
    outputs, _ = layer.apply(batch, labels, layer.draw(rows), rows)
    harder = np.mean(array(outputs)[:, 0] == 1.0)
    numbers = rng.integers(0, 2, (size, CANDIDATES, CANDIDATE_POOL))
    score = np.where(numbers == 0, np.log(4), 0) + rng.gumbel(size=numbers.shape)
    winners = np.take_along_axis(numbers, score.argmax(-1)[..., None], -1)[..., 0]
    # Both are orthogonal to the batch's latents, so the first candidate is chosen.
    assert abs(harder - np.mean(winners[:, 0] == 0)) < 4 * np.sqrt(0.5 / size)


def test_policy_is_a_variable(rng):
    layer, _, _ = filled(rng, one("gaussian_noise", 0.0))
    labels = np.zeros(BATCH, "int32")
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    latents, labels = tensor(latents), tensor(labels, "int32")

    def augment():
        return layer.apply(latents, labels, layer.draw(ONE), ONE)[0]

    variables = [*layer.variables, layer.seed_generator.state]
    augment = compiled(augment, variables)
    np.testing.assert_array_equal(augment(), latents)
    layer.policy = one("gaussian_noise", 0.7)
    assert layer.policy == one("gaussian_noise", 0.7)
    assert np.all(array(augment()) != latents)
    with pytest.raises(ValueError, match="must have the operations"):
        layer.policy = Policy.zero()


def test_a_policy_is_assigned_with_the_options_of_the_layers():
    policy = one(DifferenceTransform(donors="class"), 0.0)
    layer = LatentAugmentation(NUM_CLASSES, policy)
    layer.build((None, FEATURES))
    layer.policy = one(DifferenceTransform(donors="class"), 0.5)
    assert layer.policy == one(DifferenceTransform(donors="class"), 0.5)
    with pytest.raises(ValueError, match="options"):
        layer.policy = one("difference_transform", 0.5)


def test_policy_can_be_assigned_before_building():
    layer = LatentAugmentation(np.int64(NUM_CLASSES), one("gaussian_noise", 0.0))
    layer.policy = one("gaussian_noise", 0.7)
    assert layer.from_config(layer.get_config()).policy == one("gaussian_noise", 0.7)
    layer.build((None, FEATURES))
    assert layer.policy == one("gaussian_noise", 0.7)


def test_memory_limit_keeps_fewer_latents(monkeypatch):
    limit = 20_000
    policy = one("gaussian_noise")
    monkeypatch.setattr(latent_augmentation, "MEMORY_LIMIT", limit)
    layer = LatentAugmentation(10, policy)
    layer.build((None, 8))
    size = sum(4 * np.prod(weight.shape) for weight in layer.memory.weights)
    assert layer.memory.memory_size < 100
    assert limit - 10 * 9 * 4 < size <= limit
    layer = LatentAugmentation(10, policy, memory_size=100)
    layer.build((None, 8))
    assert layer.memory.memory_size == 100
    monkeypatch.setattr(latent_augmentation, "MEMORY_LIMIT", 100)
    layer = LatentAugmentation(10, policy)
    with pytest.raises(ValueError, match="pass `memory_size=2`"):
        layer.build((None, 8))


def test_class_mixing_alone_needs_no_memory():
    layer = LatentAugmentation(10, one("class_mixing"))
    layer.build((None, 8))
    assert layer.memory is None
    layer.remember(np.zeros((2, 8), "float32"), np.zeros(2, "int32"))
    layer = LatentAugmentation(
        10, Policy({"class_mixing": (0.5, 0.5), "gaussian_noise": (0.0, 0.5)})
    )
    layer.build((None, 8))
    assert layer.memory is not None


def test_without_labels_warns_once(rng):
    layer = LatentAugmentation(NUM_CLASSES)
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    with pytest.warns(UserWarning, match="ModalsModel"):
        np.testing.assert_array_equal(layer(latents, training=True), latents)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(latents, training=True)


def test_in_a_plain_model_warns_once_and_is_the_identity(rng):
    inputs = keras.Input((FEATURES,))
    latents = LatentAugmentation(NUM_CLASSES)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(NUM_CLASSES)(latents))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    x = rng.normal(size=(12, FEATURES)).astype("float32")
    with pytest.warns(UserWarning, match="ModalsModel") as record:
        model.fit(x, np.arange(12) % 3, epochs=2, batch_size=5, verbose=0)
    assert sum("ModalsModel" in str(warning.message) for warning in record) == 1


OPTIONS = (
    HardInterpolation(hardness="margin", temperature=0.5),
    DifferenceTransform(donors="class"),
)


@pytest.mark.parametrize(
    ("arguments", "memory"),
    [
        ({}, set()),
        (
            {
                "policy": Policy.random(0, OPTIONS),
                "gradient_to_encoder": True,
                "memory_size": 7,
                "seed": 3,
            },
            {"latents", "hardness", "moments", "means_and_deviations", "counters"},
        ),
    ],
)
@pytest.mark.parametrize("shape", [(BATCH, 5), (BATCH, 2, 3)])
def test_contract(arguments, memory, shape):
    arguments = {"num_classes": NUM_CLASSES, **arguments}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*without labels")
        layer = check_layer_contract(
            LatentAugmentation, arguments, shape, shape, half="float32"
        )
    names = {weight.name for weight in layer.weights}
    assert names == {"probabilities", "magnitudes"} | memory
    assert not layer.trainable_weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes=1"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"memory_size": 1, "policy": Policy.zero()}, "memory_size=1"),
        ({"memory_size": 50}, "reads the memory.* memory_size=50"),
        ({"policy": "random"}, "policy='random'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentAugmentation(**{"num_classes": 3, **arguments})


def test_refuses_unknown_sizes():
    with pytest.raises(ValueError, match="variable length"):
        LatentAugmentation(3, one("gaussian_noise"))(keras.Input((None, 4)))
    outputs = LatentAugmentation(3)(keras.Input((None, 4)))
    assert outputs.shape == (None, None, 4)


def test_seeds(rng):
    latents = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    labels = np.array([0, 1, 2, 0, 2, 1])
    results = []
    for seed in (1, 1, 2):
        layer, _, _ = filled(np.random.default_rng(0), one("gaussian_noise"), seed=seed)
        results.append(array(layer(latents, labels=labels, training=True)))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.all(results[0] != results[2])


@tensorflow_only
def test_a_step_never_reads_the_memory_whole(rng):
    """No tensor in the graph of a step is as long as the memory, or as all classes."""
    import tensorflow as tf

    policy = Policy.constant(0.5, 0.5, (*NAMES[1:], HardInterpolation("margin")))
    layer = LatentAugmentation(1009, policy, memory_size=13, seed=0)
    layer.build((None, FEATURES))

    @tf.function(autograph=False)
    def step(latents, labels):
        outputs, _ = layer.apply(latents, labels, layer.draw(ONE), ONE)
        layer.remember(latents, labels)
        return outputs

    graph = step.get_concrete_function(
        np.zeros((BATCH, FEATURES), "float32"), np.zeros(BATCH, "int32")
    ).graph
    sizes = {
        size
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.rank is not None
        for size in tensor.shape
    }
    assert max(sizes) < 1009


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_labels_by_hand_are_exact_in_half_precision(policy, dtype):
    keras.config.set_dtype_policy(policy)
    try:
        layer = LatentAugmentation(5000, Policy.single("gaussian_noise", 0.1))
    finally:
        keras.config.set_dtype_policy("float32")
    labels = np.array([257, 2049, 4001], dtype)
    layer(keras.ops.ones((3, 4)), labels=labels, training=True)
    counts = layer.memory.counts(keras.ops.arange(5000, dtype="int32"))
    np.testing.assert_array_equal(np.flatnonzero(array(counts)), [257, 2049, 4001])


def test_a_mask_of_mixed_sequences_has_the_positions_of_both():
    layer = LatentAugmentation(2, Policy.single("class_mixing", 1.0), seed=0)
    layer.build((None, 3, 2))
    mask = keras.ops.convert_to_tensor(np.array([[1, 0, 0], [0, 1, 0]], "bool"))
    latents = keras.ops.ones((2, 3, 2))
    assert layer.compute_mask(latents, mask) is mask
    labels = keras.ops.convert_to_tensor(np.array([0, 1], "int32"))
    rows = RowMap(2, 2, True)
    mixing = StepMixing([layer], of_groups(labels), rows, layer.seed_generator)
    rows = rows.mixed(mixing.partner, mixing.share)
    with StepScope(of_groups(labels), rows, mixing, {layer.name: ONLY}):
        found = array(layer.compute_mask(latents, mask))
    np.testing.assert_array_equal(found[:2], array(mask))
    np.testing.assert_array_equal(found[2:], [[1, 1, 0], [1, 1, 0]])
