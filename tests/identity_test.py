"""An augmented model without effect trains exactly like the plain Keras model.

With a policy that moves nothing, with class mixing of magnitude 0, and in a one-run
search of one member, every number must equal the plain model's. Each pair of settings
occurs in at least one case. TensorFlow runs all cases, and other backends run fewer.
`python tests/identity_test.py` runs the whole list on any backend.
"""

import itertools
import random
import sys

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from portable import BACKEND

import keras_modals

pytestmark = pytest.mark.backend

SIZE, BATCH, CLASSES = 12, 8, 3
SEED = 0


# Losses ------------------------------------------------------------------


def of_batch(reduce):
    """Returns a loss function that returns one number for the batch."""
    return lambda y, p: reduce(keras.losses.categorical_crossentropy(y, p))


def of_class(y, p):
    return -y * ops.log(p)


@keras.saving.register_keras_serializable("identity")
class OwnCall(keras.losses.Loss):
    """Handles weights on its own. Keras's `call` is not used."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        losses = keras.losses.categorical_crossentropy(y_true, y_pred)
        return ops.mean(losses) + 0.1 * ops.max(losses)


def sparse(**arguments):
    return keras.losses.SparseCategoricalCrossentropy(**arguments)


#: Name to a function that creates the loss, and the format of its labels.
LOSSES = {
    "sparse": (sparse, "index"),
    "binary": (lambda: "binary_crossentropy", "binary"),
    "sum": (lambda: sparse(reduction="sum"), "index"),
    "mean": (lambda: sparse(reduction="mean"), "index"),
    "weighted_mean": (lambda: sparse(reduction="mean_with_sample_weight"), "index"),
    "unreduced": (lambda: sparse(reduction=None), "index"),
    "number_mean": (lambda: of_batch(ops.mean), "one_hot"),
    "number_sum": (lambda: of_batch(ops.sum), "one_hot"),
    "number_index": (
        lambda: (
            lambda y, p: ops.mean(keras.losses.sparse_categorical_crossentropy(y, p))
        ),
        "index",
    ),
    "of_class": (lambda: of_class, "one_hot"),
    "dice": (keras.losses.Dice, "one_hot"),
    "tversky": (keras.losses.Tversky, "one_hot"),
    "focal": (keras.losses.CategoricalFocalCrossentropy, "one_hot"),
    "kl": (keras.losses.KLDivergence, "one_hot"),
    "hinge": (keras.losses.CategoricalHinge, "one_hot"),
    "ignoring": (lambda: sparse(ignore_class=-1), "ignored"),
    "own_call": (OwnCall, "one_hot"),
}

# Regularizers --------------------------------------------------------------


@keras.saving.register_keras_serializable("identity")
class Penalty(L.Layer):
    """Adds a loss of its own."""

    def call(self, inputs):
        self.add_loss(0.1 * ops.mean(ops.square(inputs)))
        return inputs

    def compute_output_shape(self, shape):
        return shape


def penalty(kind, place):
    """Returns the arguments of the dense layer at a place in the model."""
    regularizer = keras.regularizers.L2(0.1)
    if kind == f"activity_{place}":
        return {"activity_regularizer": regularizer}
    if kind == "weights":
        return {"kernel_regularizer": regularizer, "bias_regularizer": regularizer}
    return {}


REGULARIZERS = [
    "none",
    "weights",
    "activity_encoder",
    "activity_head",
    "activity_output",
    "layers",
    "add_loss",
]

# Inputs, optimizers, callbacks ----------------------------------------------


@keras.saving.register_keras_serializable("identity")
class Join(L.Layer):
    def call(self, signal, extra=None):
        return signal if extra is None else signal + extra

    def compute_output_shape(self, signal_shape, extra_shape=None):
        return signal_shape


def make_inputs(kind):
    """Returns the inputs of a model, and its first tensor."""
    if kind == "masked":
        inputs = keras.Input((4, 3), name="signal")
        return inputs, L.LSTM(6, name="lstm")(L.Masking()(inputs))
    signal = keras.Input((6,), name="signal", sparse=kind == "sparse")
    if kind == "several":
        other = keras.Input((2,), name="other")
        return [signal, other], L.Concatenate()([signal, other])
    if kind == "optional":
        extra = keras.Input((6,), name="extra", optional=True)
        return {"signal": signal, "extra": extra}, Join()(signal, extra)
    return signal, signal


def make_x(kind, rng):
    signal = rng.normal(size=(SIZE, 6)).astype("float32")
    if kind == "several":
        return [signal, rng.normal(size=(SIZE, 2)).astype("float32")]
    if kind == "optional":
        return {"signal": signal, "extra": None}
    if kind == "masked":
        signal = rng.normal(size=(SIZE, 4, 3)).astype("float32")
        signal[::3, 2:] = 0.0
        return signal
    if kind == "sparse":
        import scipy.sparse

        return scipy.sparse.csr_matrix(np.where(signal > 0, signal, 0))
    return signal


def excluding():
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "excluding": excluding,
    "averaging": lambda: keras.optimizers.Adam(
        0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2
    ),
    "clipping": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1),
    "accumulating": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "scaling": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), initial_scale=8.0
    ),
    "scheduled": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    ),
}


def make_callbacks(kind, folder):
    return {
        "none": lambda: [],
        "reducing": lambda: [
            keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, 0, min_delta=10.0)
        ],
        "stopping": lambda: [
            keras.callbacks.EarlyStopping(
                "val_loss", patience=1, min_delta=10.0, restore_best_weights=True
            )
        ],
        "swapping": lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        "backing_up": lambda: [keras.callbacks.BackupAndRestore(f"{folder}/backup")],
    }[kind]()


# Models ----------------------------------------------------------------------


class AddsToLoss:
    """Overrides methods, as a subclass of `keras.Model` or `ModalsModel` may."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        loss = super().compute_loss(x, y, y_pred, sample_weight, **kwargs)
        return loss + 0.1 * ops.mean(ops.square(self.get_layer("hidden").kernel))


class CountsInMetrics:
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "rows": ops.shape(keras.tree.flatten(y_pred)[0])[0]}


OVERRIDES = {"none": None, "loss": AddsToLoss, "metrics": CountsInMetrics}


def make_model(case, augmentation=None, **options):
    """Returns the uncompiled model of a case, plain or with a `LatentAugmentation`."""
    keras.utils.set_random_seed(1)
    regularizer, outputs = case["regularizer"], case["outputs"]
    inputs, tensor = make_inputs(case["inputs"])
    tensor = L.Dense(5, "tanh", name="latents", **penalty(regularizer, "encoder"))(
        tensor
    )
    if regularizer == "layers":
        tensor = L.ActivityRegularization(l2=0.1)(tensor)
    if regularizer == "add_loss":
        tensor = Penalty()(tensor)
    latents = tensor if augmentation is None else augmentation(tensor)
    tensor = L.Dense(4, "tanh", name="hidden", **penalty(regularizer, "head"))(latents)
    if regularizer == "layers":
        tensor = L.ActivityRegularization(l2=0.1)(tensor)
    is_binary = LOSSES[case["loss"]][1] == "binary"
    kind = L.Dense(
        1 if is_binary else CLASSES,
        "sigmoid" if is_binary else "softmax",
        name="kind",
        **penalty(regularizer, "output"),
    )(tensor)
    results = kind
    if outputs in ("list", "dict"):
        results = [kind, L.Dense(1, name="size")(latents)]
    if outputs == "unscored":
        results = [kind, L.Identity(name="embedding")(latents)]
    if outputs in ("dict", "unscored"):
        results = {result._keras_history[0].name: result for result in results}
    base = keras.Model if augmentation is None else keras_modals.ModalsModel
    override = OVERRIDES[case["override"]]
    if override is not None:
        base = type(override.__name__, (override, base), {})
    if augmentation is not None and outputs != "one":
        options["label_output"] = "kind"
    return base(inputs, results, **options)


def compile_(model, case):
    loss = LOSSES[case["loss"]][0]()
    outputs, execution = case["outputs"], case["execution"]
    is_compiled = execution == "compiled"
    if BACKEND != "tensorflow":
        # PyTorch's compiler takes minutes. JAX is too slow without its compiler.
        is_compiled = BACKEND == "jax" and execution != "eager"
    if BACKEND == "jax" and case["regularizer"] not in ("none", "weights"):
        # Keras distinguishes losses of layers by tensor ids, which eager steps on JAX
        # reuse. There, even the plain model's `evaluate` returns varying losses.
        execution, is_compiled = "graph", True
    metrics = ["sparse_categorical_accuracy"]
    if LOSSES[case["loss"]][1] in ("one_hot", "binary"):
        metrics = ["mse"]
        if case["dtype"] == "float32":
            # It grows with the rows. Half precision may round across its threshold.
            metrics.append(keras.metrics.TruePositives(name="hits"))
    if outputs == "list":
        loss, metrics = [loss, "mse"], [metrics, []]
    elif outputs == "dict":
        loss, metrics = {"kind": loss, "size": "mse"}, {"kind": metrics}
    elif outputs == "unscored":
        # Plain Keras does not accept metrics here.
        loss, metrics = {"kind": loss}, None
    model.compile(
        OPTIMIZERS[case["optimizer"]](),
        loss,
        metrics=metrics,
        run_eagerly=execution == "eager",
        jit_compile=is_compiled,
        steps_per_execution=2 if execution == "steps" and BACKEND != "torch" else 1,
    )
    return model


def make_data(case):
    rng = np.random.default_rng(2)
    x, labels = make_x(case["inputs"], rng), np.arange(SIZE) % CLASSES
    y = {
        "index": lambda: labels,
        "one_hot": lambda: np.eye(CLASSES, dtype="float32")[labels],
        "binary": lambda: (labels % 2).astype("float32")[:, None],
        "ignored": lambda: np.where(rng.random(SIZE) < 0.6, -1, labels),
    }[LOSSES[case["loss"]][1]]()
    size = rng.normal(size=(SIZE, 1)).astype("float32")
    y = {
        "one": lambda: y,
        "list": lambda: [y, size],
        "dict": lambda: {"kind": y, "size": size},
        "unscored": lambda: {"kind": y},
    }[case["outputs"]]()
    arguments = {}
    if case["weights"] == "sample":
        arguments["sample_weight"] = rng.uniform(0.5, 2.0, SIZE)
        if case["outputs"] == "list":
            arguments["sample_weight"] = [arguments["sample_weight"]] * 2
        elif case["outputs"] != "one":
            arguments["sample_weight"] = dict.fromkeys(y, arguments["sample_weight"])
    elif case["weights"] == "class":
        arguments["class_weight"] = {0: 0.5, 1: 2.0, 2: 1.0}
    return x, y, arguments


# Cases -----------------------------------------------------------------------

HALF = ["mixed_bfloat16", "mixed_float16"]

AXES = {
    "loss": list(LOSSES),
    "way": ["zero", "mixing_1", "mixing_2", "search"],
    "weights": ["none", "sample", "class"],
    "regularizer": REGULARIZERS,
    "outputs": ["one", "list", "dict", "unscored"],
    "inputs": ["one", "several", "optional", "masked", "sparse"],
    "optimizer": list(OPTIMIZERS),
    "callbacks": ["none", "reducing", "stopping", "swapping", "backing_up"],
    "override": list(OVERRIDES),
    "dtype": ["float32", *HALF],
    "execution": ["graph", "compiled", "steps", "eager"],
}

#: Losses that return one number for a batch, or that Keras cannot weight.
UNWEIGHTED = (
    "number_mean",
    "number_sum",
    "number_index",
    "of_class",
    "dice",
    "tversky",
)


def is_possible(case):
    """Returns whether plain Keras trains a case, or part of one, and the package claims
    to."""
    impossible = [
        # Limitations of Keras.
        ({"weights": ["sample", "class"]}, {"loss": [*UNWEIGHTED, "own_call"]}),
        ({"weights": ["class"]}, {"outputs": ["list", "dict", "unscored"]}),
        ({"weights": ["class"]}, {"loss": ["ignoring", "binary"]}),
        (
            {"callbacks": ["swapping"]},
            {"optimizer": sorted({*OPTIMIZERS} - {"averaging"})},
        ),
        ({"callbacks": ["reducing"]}, {"optimizer": ["scheduled"]}),
        ({"loss": ["unreduced"]}, {"outputs": ["list", "dict", "unscored"]}),
        ({"loss": ["unreduced"]}, {"regularizer": REGULARIZERS[1:]}),
        ({"loss": ["unreduced"]}, {"override": ["loss"]}),
        ({"dtype": HALF}, {"inputs": ["sparse"]}),
        # Members are scored by per-sample losses, and trained as by `ModalsModel`.
        ({"way": ["search"]}, {"loss": [*UNWEIGHTED, "own_call"]}),
        ({"way": ["search"]}, {"override": ["loss", "metrics"]}),
    ]
    # The number of rows determines whether float16 overflows and a step is skipped.
    impossible.append(({"dtype": ["mixed_float16"]}, {"loss": ["sum", "number_sum"]}))
    if __name__ != "__main__":
        # These are slow. Try them with losses, ways and optimizers in simple models.
        long = {"execution": ["compiled", "steps"]}
        simple = set(AXES) - {"loss", "way", "optimizer", "dtype", "execution"}
        impossible += [(long, {axis: AXES[axis][1:]}) for axis in simple]
    if BACKEND == "tensorflow":
        impossible += [
            ({"dtype": HALF}, {"regularizer": REGULARIZERS[2:]}),
            ({"execution": ["compiled"]}, {"inputs": ["sparse"]}),
        ]
    return not any(
        all(case.get(axis) in values for axis, values in {**first, **second}.items())
        for first, second in impossible
    )


def skipped_here(case):
    if BACKEND == "tensorflow":
        return False
    sparse_on_torch = BACKEND == "torch" and case["inputs"] == "sparse"
    return case["loss"] == "unreduced" or sparse_on_torch


def make_cases():
    """Returns cases that cover all possible pairs of settings. Each starts with a pair
    that is not covered yet, and adds the settings that cover the most other pairs."""
    rng = random.Random(SEED)

    def pairs_of(case):
        return set(itertools.combinations(sorted(case.items()), 2))

    open_pairs = set()
    for first, second in itertools.combinations(AXES, 2):
        for values in itertools.product(AXES[first], AXES[second]):
            pair = dict(zip((first, second), values))
            if is_possible(pair):
                open_pairs |= pairs_of(pair)
    cases = []
    while open_pairs:
        pair = min(open_pairs)
        case = dict(pair)
        for axis in rng.sample(list(AXES), len(AXES)):
            values = rng.sample(AXES[axis], len(AXES[axis]))
            options = [{**case, axis: value} for value in values]
            options = [option for option in options if is_possible(option)]
            if axis not in case:
                case = max(
                    options,
                    key=lambda option: (
                        len(pairs_of(option) & open_pairs),
                        # Break ties by what is exact and fast.
                        option.get("dtype") == "float32",
                        option.get("execution") == "eager",
                    ),
                )
        open_pairs -= {pair, *pairs_of(case)}
        cases.append({axis: case[axis] for axis in AXES})
    # Every other case that mixes one view has several layers.
    for case in [case for case in cases if case["way"] == "mixing_1"][::2]:
        case["way"] = "deep"
    if __name__ != "__main__":
        # JAX compiles each case. As a script, this file runs all of them.
        cases = cases[:: {"tensorflow": 1, "jax": 12}.get(BACKEND, 3)]
    return [case for case in cases if not skipped_here(case)]


def case_id(case):
    return "-".join(case.values())


def augmented(case):
    """Returns the case's compiled model with an augmentation that changes nothing."""
    policy = keras_modals.Policy.single("class_mixing", 0.0)
    num_views = 2 if case["way"] == "mixing_2" else 1
    if case["way"] in ("zero", "search"):
        policy = keras_modals.Policy.zero(repeats=1)
    layer = {"policy": policy, "seed": 0}
    if case["override"] != "none":
        classes = 2 if LOSSES[case["loss"]][1] == "binary" else CLASSES
        augmentation = keras_modals.LatentAugmentation(classes, **layer)
        return compile_(make_model(case, augmentation, num_views=num_views), case)
    model = keras_modals.augment(
        compile_(make_model(case), case),
        layer="auto" if case["way"] == "deep" else "latents",
        label_output=None if case["outputs"] == "one" else "kind",
        num_views=num_views,
        **layer,
    )
    if not model.compiled:
        compile_(model, case)
    if case["way"] == "search":
        return keras_modals.SharedEncoderSearch(model, population_size=1, seed=0)
    return model


def numbers(model, case, folder):
    """Returns the logs, scores and predictions of a training by name."""
    x, y, weights = make_data(case)
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=3,
        shuffle=False,
        verbose=0,
        validation_data=(x, y),
        validation_batch_size=SIZE,
        callbacks=make_callbacks(case["callbacks"], folder),
        **weights,
    )
    found = {f"fit {name}": np.array(v) for name, v in history.history.items()}
    scores = model.evaluate(x, y, batch_size=SIZE, verbose=0, return_dict=True)
    found |= {f"evaluate {name}": value for name, value in scores.items()}
    predictions = keras.tree.flatten(model.predict(x, batch_size=SIZE, verbose=0))
    found |= {f"predict {index}": value for index, value in enumerate(predictions)}
    return found


def weights_of(model):
    if isinstance(model, keras_modals.SharedEncoderSearch):
        model = model.best_model()
    return {
        f"{layer.name} {index}": value
        for layer in model.layers
        if not isinstance(layer, keras_modals.LatentAugmentation)
        for index, value in enumerate(layer.get_weights())
    }


#: Half precision rounds sums over different numbers of rows differently.
TOLERANCES = {"float32": 1e-5, "mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}


def check(case, folder):
    keras.config.set_dtype_policy(case["dtype"])
    try:
        plain = compile_(make_model(case), case)
        expected = {**numbers(plain, case, f"{folder}/plain"), **weights_of(plain)}
        model = augmented(case)
        found = {**numbers(model, case, f"{folder}/ours"), **weights_of(model)}
    finally:
        keras.config.set_dtype_policy("float32")
    tolerance = TOLERANCES[case["dtype"]]
    if case["way"] == "search":
        tolerance = max(tolerance, 1e-4)
    # The package also logs the labels that the user ignores.
    if LOSSES[case["loss"]][1] == "ignored":
        found.pop("fit ignored_labels")
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize("case", make_cases(), ids=case_id)
@pytest.mark.filterwarnings("ignore")
def test_identity(case, tmp_path):
    check(case, tmp_path)


if __name__ == "__main__":
    import tempfile
    import warnings

    warnings.simplefilter("ignore")
    cases = make_cases()
    failed = 0
    for case in cases:
        keras.utils.clear_session(free_memory=False)
        try:
            check(case, tempfile.mkdtemp())
        except Exception as error:
            failed += 1
            text = " ".join(str(error).split())[:400]
            print(f"{case_id(case)}: {type(error).__name__} {text}", flush=True)
    print(f"{failed} of {len(cases)} cases differ on {BACKEND}.")
    sys.exit(bool(failed))
