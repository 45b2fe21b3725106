import keras
import numpy as np
import pytest
from contract import check_loss_contract
from portable import BACKEND, array, compiled, gradients, tensorflow_only

from keras_modals import TripletSelector

# Eager steps are slow.
DRAWS = 300 if BACKEND == "torch" else 2000

MINING = ("random", "semihard", "hardest", "all")


def distances_by_loops(embeddings, distance):
    size = len(embeddings)
    result = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            x, y = embeddings[i], embeddings[j]
            if distance == "cosine":
                norms = np.linalg.norm(x) * np.linalg.norm(y)
                result[i, j] = 1 - x @ y / norms
            else:
                result[i, j] = ((x - y) ** 2).sum()
    return result


def triplets_by_loops(labels, distances, margin, mining):
    """Returns a list of losses per pair, from which the mining rule may choose."""
    candidates = []
    size = len(labels)
    for a in range(size):
        for p in range(a + 1, size):
            if labels[a] != labels[p] or labels[a] < 0:
                continue
            losses = [
                distances[a, p] - distances[a, n] + margin
                for n in range(size)
                if labels[n] != labels[a] and labels[n] >= 0
            ]
            losses = [loss for loss in losses if loss > 0]
            if mining == "semihard":
                losses = [loss for loss in losses if loss < margin]
            if losses:
                candidates.append(losses)
    return candidates


def batch(rng, size=24, classes=4, features=5):
    labels = rng.integers(0, classes, size)
    return labels, rng.normal(size=(size, features)).astype("float32")


@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("seed", range(3))
def test_hardest_and_all_match_loops(distance, seed):
    labels, embeddings = batch(np.random.default_rng(seed))
    margin = 2.0 if distance == "squared_euclidean" else 0.3
    distances = distances_by_loops(embeddings, distance)
    candidates = triplets_by_loops(labels, distances, margin, "all")
    everything = [loss for losses in candidates for loss in losses]
    hardest = [max(losses) for losses in candidates]
    assert len(hardest) > 5
    for mining, losses in (("all", everything), ("hardest", hardest)):
        loss = TripletSelector(margin, mining, distance)
        np.testing.assert_allclose(loss(labels, embeddings), np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("mining", ["random", "semihard"])
def test_random_choices_match_loops_in_the_mean(mining, rng):
    """The sum over pairs is a sum of uniform choices, each with its candidates' mean.
    Pairs share one random order, so bounds come from repeated draws."""
    labels, embeddings = batch(rng)
    distances = distances_by_loops(embeddings, "squared_euclidean")
    candidates = triplets_by_loops(labels, distances, 2.0, mining)
    assert len(candidates) > 5
    loss = TripletSelector(2.0, mining, seed=1)
    function = compiled(loss, [loss.seed_generator.state])
    values = np.array([float(function(labels, embeddings)) for _ in range(DRAWS)])
    expected = np.mean([np.mean(losses) for losses in candidates])
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error
    assert values.std() > 0


@pytest.mark.parametrize("mining", ["random", "semihard"])
def test_random_choices_are_uniform_and_active(mining):
    """One pair and five negatives, of which two or three may be chosen."""
    embeddings = np.array([[0], [1], [0.5], [1.2], [1.3], [2], [3]], "float32")
    labels = np.array([0, 0, 1, 2, 3, 4, 5])
    distances = distances_by_loops(embeddings, "squared_euclidean")
    (expected,) = triplets_by_loops(labels, distances, 1.0, mining)
    assert len(expected) == {"random": 3, "semihard": 2}[mining]
    loss = TripletSelector(1.0, mining, seed=2)
    function = compiled(loss, [loss.seed_generator.state])
    values = np.array([float(function(labels, embeddings)) for _ in range(DRAWS)])
    # The loss of the first choice is that of the one pair.
    counts = [(np.abs(values - loss) < 1e-4).sum() for loss in expected]
    assert sum(counts) == DRAWS
    share = 1 / len(expected)
    bound = 4 * np.sqrt(DRAWS * share * (1 - share))
    assert np.all(np.abs(np.array(counts) - DRAWS * share) < bound)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine"])
def test_gradient_matches_finite_differences(mining, distance, rng):
    labels, embeddings = batch(rng, size=10, classes=3, features=3)
    margin = 2.0 if distance == "squared_euclidean" else 0.5
    loss = TripletSelector(margin, mining, distance, seed=3)
    state = array(loss.seed_generator.state)

    def value(points):
        # Make the same choices in every evaluation.
        loss.seed_generator.state.assign(state)
        return float(loss(labels, points.astype("float32")))

    _, (gradient,) = gradients(lambda points: loss(labels, points), embeddings)
    step = 1e-2
    numeric = np.zeros_like(embeddings)
    for index in np.ndindex(*embeddings.shape):
        shift = np.zeros_like(embeddings)
        shift[index] = step
        numeric[index] = (value(embeddings + shift) - value(embeddings - shift)) / (
            2 * step
        )
    assert np.abs(gradient).max() > 0.05
    # A choice or activity that flips within the step spoils single entries.
    close = np.abs(gradient - numeric) < 1e-2 * np.abs(gradient).max()
    assert close.mean() > 0.8


EDGE_CASES = {
    "duplicates": ([0, 0, 1, 1], np.zeros((4, 3))),
    "no positives": ([0, 1, 2, 3], np.eye(4, 3)),
    "no negatives": ([0, 0, 0, 0], np.eye(4, 3)),
    "one sample": ([0], np.ones((1, 3))),
    "no active triplet": ([0, 0, 1, 1], np.array([[0], [0], [1e3], [1e3]])),
    "huge": ([0, 0, 1, 1], np.array([[1e6], [2e6], [3e6], [1e6]])),
    "not finite": ([0, 0, 1, 0], np.array([[0], [1], [0.5], [np.nan]])),
    "unknown labels": ([0, 0, -1, -1], np.eye(4, 3)),
}


@pytest.mark.parametrize("case", EDGE_CASES)
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine"])
def test_edge_cases_are_finite(case, mining, distance):
    labels, points = EDGE_CASES[case]
    selector = TripletSelector(1.0, mining, distance)
    loss, (gradient,) = gradients(lambda z: selector(np.array(labels), z), points)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    if case in ("no positives", "no negatives", "one sample", "unknown labels"):
        assert loss == 0


@pytest.mark.parametrize("mining", MINING)
def test_half_precision(mining, rng):
    labels, embeddings = batch(rng)
    loss = TripletSelector(2.0, mining, seed=0)
    half = TripletSelector(2.0, mining, seed=0)
    np.testing.assert_allclose(
        half(labels, embeddings.astype("float16")),
        loss(labels, embeddings.astype("float16").astype("float32")),
        rtol=1e-5,
    )


def test_ignored_samples_change_nothing(rng):
    labels, embeddings = batch(rng)
    loss = TripletSelector(2.0, "all")
    expected = loss(labels[:20], embeddings[:20])
    labels[20:] = -1
    np.testing.assert_allclose(loss(labels, embeddings), expected, rtol=1e-5)


def test_label_forms_agree(rng):
    labels, embeddings = batch(rng)
    loss = TripletSelector(2.0, "all")
    expected = loss(labels, embeddings)
    for form in (labels[:, None], labels.astype("float32"), np.eye(4)[labels]):
        np.testing.assert_allclose(loss(form, embeddings), expected, rtol=1e-6)


@tensorflow_only
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_compiled_with_unknown_batch_size(mining, jit_compile, rng):
    import tensorflow as tf

    labels, embeddings = batch(rng)
    function = tf.function(
        TripletSelector(2.0, mining, seed=0),
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None], "int64"),
            tf.TensorSpec([None, 5], "float32"),
        ],
    )
    result = float(function(labels, embeddings))
    if mining in ("random", "semihard"):
        # XLA draws different numbers from the same seed.
        distances = distances_by_loops(embeddings, "squared_euclidean")
        candidates = triplets_by_loops(labels, distances, 2.0, mining)
        assert np.mean([min(losses) for losses in candidates]) < result
        assert np.mean([max(losses) for losses in candidates]) > result
    else:
        expected = TripletSelector(2.0, mining)(labels, embeddings)
        np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("mining", MINING)
@tensorflow_only
def test_memory_grows_with_the_square(mining, rng):
    """No tensor of a step has more than two axes of the batch's length."""
    import tensorflow as tf

    size = 53
    labels, embeddings = batch(rng, size=size, classes=3, features=7)
    loss = tf.function(TripletSelector(2.0, mining), autograph=False)
    definition = loss.get_concrete_function(labels, embeddings).graph.as_graph_def(
        add_shapes=True
    )
    nodes = list(definition.node)
    for function in definition.library.function:
        nodes.extend(function.node_def)
    shapes = [
        [dimension.size for dimension in shape.dim]
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    ]
    assert max(shape.count(size) for shape in shapes) == 2
    assert max(np.prod(shape) for shape in shapes if shape) <= 2 * size**2


def test_fits_as_a_loss(rng):
    labels, inputs = batch(rng, size=60, classes=3)
    inputs = inputs + 2 * np.eye(3, 5)[labels].astype("float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(0.02), TripletSelector(1.0, "all"))
    model.fit(inputs, labels, batch_size=60, epochs=60, verbose=0)
    embeddings = model.predict(inputs, verbose=0)
    same = labels[:, None] == labels[None, :]
    distances = distances_by_loops(embeddings, "squared_euclidean")
    raw = distances_by_loops(inputs, "squared_euclidean")
    ratio = distances[~same].mean() / distances[same].mean()
    assert ratio > 2 * raw[~same].mean() / raw[same].mean()


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine"])
def test_contract(mining, distance, rng):
    labels, embeddings = batch(rng)
    arguments = {"margin": 1.5, "mining": mining, "distance": distance, "seed": 5}
    check_loss_contract(TripletSelector, arguments, labels, embeddings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": 0}, "margin=0"),
        ({"margin": float("nan")}, "margin=nan"),
        ({"mining": "easy"}, "mining='easy'"),
        ({"distance": "manhattan"}, "distance='manhattan'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        TripletSelector(**arguments)


def test_seeds(rng):
    labels, embeddings = batch(rng)
    first, same, other = (
        [float(loss(labels, embeddings)) for _ in range(3)]
        for loss in (
            TripletSelector(2.0, "random", seed=1),
            TripletSelector(2.0, "random", seed=1),
            TripletSelector(2.0, "random", seed=2),
        )
    )
    assert first == same
    assert first != other
    assert len(set(first)) > 1


@pytest.mark.parametrize("norm", [0.0, 1e-9, 1e-5])
@pytest.mark.parametrize("mining", MINING)
def test_a_latent_without_direction_takes_no_part_in_cosines(mining, norm, rng):
    """Its gradient would grow as its norm shrinks."""
    labels, embeddings = batch(rng)
    embeddings = embeddings.astype("float32")
    scaled = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    without = labels.copy()
    scaled[0] *= norm
    without[0] = -1
    values = []
    for given in (labels, without):
        loss = TripletSelector(0.5, mining, "cosine", seed=0)
        value, (gradient,) = gradients(lambda z, y=given, f=loss: f(y, z), scaled)
        values.append(value)
        np.testing.assert_array_equal(gradient[0], 0.0)
        assert np.abs(gradient).max() < 10.0
    np.testing.assert_allclose(*values, rtol=1e-6)
    assert values[0] > 0


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6])
def test_cosines_do_not_depend_on_the_scale(scale, rng):
    labels, embeddings = batch(rng)
    loss = TripletSelector(0.5, "hardest", "cosine")
    expected = float(loss(labels, embeddings))
    np.testing.assert_allclose(
        float(loss(labels, scale * embeddings)), expected, rtol=1e-5
    )
