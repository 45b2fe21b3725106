"""After `augment`, a KerasHub task takes the same inputs as before."""

import json
import zipfile

import keras
import keras_hub
import keras_tuner
import numpy as np
import pytest
from portable import BACKEND, array

import keras_modals
from keras_modals._src.evaluation.compiled import accuracy_log, recompile
from keras_modals._src.evaluation.label_output import LabelOutput
from keras_modals.evaluation import METHODS
from keras_modals.tuners import PopulationBasedTuner

# Tasks themselves warn about data that they do not shuffle.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")

WORDS = ["good", "bad", "film", "the", "plot"]
LENGTH = 8
STILL = keras_modals.Policy.zero(repeats=1)


def text_classifier(num_classes=2, **arguments):
    """Returns a task with the same random weights each time, and without dropout."""
    keras.utils.set_random_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=LENGTH,
        dropout=0.0,
    )
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
        tokenizer, sequence_length=LENGTH
    )
    task = keras_hub.models.BertTextClassifier(
        backbone,
        num_classes,
        **{"preprocessor": preprocessor, "dropout": 0.0, **arguments},
    )
    return compile_(task)


def compile_(model, **loss):
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, **loss),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        # Building graphs would take most of the time.
        run_eagerly=BACKEND == "tensorflow",
    )
    return model


def make_texts(size=20):
    """Returns texts of one to five words. Labels are 1 if the first word is `good`."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 6))) for _ in range(size)]
    return texts, [int(text.startswith("good")) for text in texts]


# Inputs of a task -----------------------------------------------------------------


def lists(x, y):
    weights = np.linspace(0.5, 2, len(y)).tolist()
    return (x, y), {"validation_data": (x, y, weights), "sample_weight": weights}


def arrays(x, y):
    weights = {"class_weight": {0: 0.5, 1: 2.0}}
    x = np.array(x, dtype=object)
    return (x, np.array(y)[:, None]), {"validation_split": 0.3, **weights}


def segments(x, y):
    return ((np.array(x), x[::-1]), np.array(y)), {}


def datasets(x, y):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    return (data,), {"validation_data": data, "class_weight": {0: 0.5, 1: 2.0}}


def numbers(model, make):
    """Returns the logs and outputs of a training."""
    texts, labels = make_texts()
    data, arguments = make(texts, labels)
    if make is not datasets:
        arguments["batch_size"] = 8
    found = model.fit(*data, epochs=2, verbose=0, **arguments).history
    return {**found, "outputs": outputs(model, texts)}


def outputs(model, x):
    # Do not use a dataset, since TensorFlow would trace its preprocessing.
    return array(model.predict_on_batch(x))


def check_alike(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, 1e-5, 1e-5, err_msg=name)


MARKS = [pytest.mark.backend, pytest.mark.slow]


@pytest.mark.parametrize(
    "make",
    [
        arrays,
        segments,
        *(pytest.param(each, marks=MARKS) for each in (lists, datasets)),
    ],
)
def test_a_policy_that_moves_nothing_trains_as_the_task(make):
    task = text_classifier()
    augmented = keras_modals.augment(task, policy=STILL)
    check_alike(numbers(augmented, make), numbers(task, make))


@pytest.mark.slow
@pytest.mark.backend
def test_evaluate_and_predict_as_the_task():
    task = text_classifier()
    augmented = keras_modals.augment(task)
    x, y = make_texts()
    logs = [
        model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        for model in (augmented, task)
    ]
    check_alike(*logs)
    expected = outputs(task, x)
    for predicted in (augmented, task):
        found = predicted.predict(np.array(x), batch_size=8, verbose=0)
        np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


@pytest.mark.backend
def test_batches_as_the_task():
    def of_batches(model):
        x, y = make_texts()
        logs = [
            model.train_on_batch(x, y, sample_weight=[2.0] * 20, return_dict=True),
            model.test_on_batch(np.array(x), y, return_dict=True),
        ]
        found = {f"{i} {name}": log[name] for i, log in enumerate(logs) for name in log}
        return {**found, "outputs": outputs(model, x)}

    task = text_classifier()
    augmented = keras_modals.augment(task, policy=STILL)
    check_alike(of_batches(augmented), of_batches(task))


@pytest.mark.slow
@pytest.mark.backend
def test_images():
    converter = keras_hub.layers.ImageConverter(image_size=(16, 16), scale=1 / 255)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    preprocessor = keras_hub.models.ImageClassifierPreprocessor(converter)
    task = keras_hub.models.ImageClassifier(backbone, 2, preprocessor=preprocessor)
    augmented = keras_modals.augment(compile_(task), policy=STILL)
    x = np.random.default_rng(0).uniform(0, 255, (8, 20, 24, 3)).astype("float32")
    y = np.arange(8) % 2
    logs = [m.fit(x, y, epochs=2, verbose=0).history for m in (task, augmented)]
    check_alike(logs[1], logs[0])
    np.testing.assert_allclose(
        augmented.predict(x, verbose=0), task.predict(x, verbose=0), 1e-5, 1e-5
    )


# Texts train like their tokens ----------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* have no label and were not used")
@pytest.mark.parametrize("kind", ["index", "one_hot", "ignored"])
def test_strings_train_as_their_tokens(kind):
    texts, labels = make_texts()
    labels = np.array(labels)
    ignored = {"ignore_class": -1} if kind == "ignored" else {}
    if kind == "ignored":
        labels[::4] = -1
    histories = []
    for takes_strings in (True, False):
        task = compile_(text_classifier(), **ignored)
        tokens = task.preprocessor(texts)
        x = texts if takes_strings else {k: array(v) for k, v in tokens.items()}
        if not takes_strings:
            task.preprocessor = None
        model = keras_modals.augment(task, seed=0, warmup_steps=0)
        y = labels
        if kind == "one_hot":
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            model.compile("adam", loss, metrics=["accuracy"])
            y = np.eye(2)[labels]
        fitted = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        histories.append(fitted.history)
    check_alike(*histories)
    assert ("ignored_labels" in histories[0]) == (kind == "ignored")


def test_shuffled_where_asked_for():
    x, y = make_texts()
    losses = []
    for shuffle in ({}, {"shuffle": True}):
        model = keras_modals.augment(text_classifier(), policy=STILL)
        history = model.fit(x, y, batch_size=4, verbose=0, **shuffle).history
        losses += history["loss"]
    assert abs(losses[0] - losses[1]) > 1e-5


def test_unlabeled_texts_are_learned_from():
    x, y = make_texts()
    model = keras_modals.augment(text_classifier(), seed=0)
    model.compile("adam", model.loss, consistency_weight=1.0)
    data = keras_modals.join_unlabeled(
        (np.array(x[:8]), np.array(y[:8])), np.array(x[8:]), batch_size=4, seed=0
    )
    history = model.fit(data, epochs=2, verbose=0, shuffle=False).history
    assert data.epoch == 2
    assert history["ignored_labels"] == [pytest.approx(2 / 3)] * 2
    with pytest.raises(ValueError, match="to evaluate must have labels"):
        model.fit(data, validation_data=(x, [-1] * 20), verbose=0)


# Errors -----------------------------------------------------------------------------


def test_labels_are_checked_before_the_training():
    x, y = make_texts()
    model = keras_modals.augment(text_classifier())
    for method in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"in \[0, 2\).*Received: a label of 2"):
            method(x, [*y[:-1], 2])
        with pytest.raises(ValueError, match="Number class names first"):
            method(x, x)


@pytest.mark.parametrize("x", ["good film", iter(["good"])], ids=["string", "iterator"])
def test_what_has_no_samples_is_refused(x):
    model = keras_modals.augment(text_classifier())
    with pytest.raises(ValueError, match=r"one entry for each sample.*Received: x="):
        model.predict(x)


def test_a_split_that_leaves_nothing_is_refused():
    x, y = make_texts(3)
    model = keras_modals.augment(text_classifier())
    with pytest.raises(ValueError, match=r"both sides.*split=0\.9, with 3 samples"):
        model.fit(x, y, validation_split=0.9)


def test_a_class_with_preprocessing_of_its_own_is_refused():
    class Own(keras_hub.models.BertTextClassifier):
        def preprocess_samples(self, x, y=None, sample_weight=None):
            return super().preprocess_samples(x, y, sample_weight)

    with pytest.raises(ValueError, match="drop what `Own` overrides: preprocess_sam"):
        keras_modals.augment(Own(text_classifier().backbone, 2))


# The preprocessor -------------------------------------------------------------------


def test_the_preprocessor_is_no_layer():
    task = text_classifier()
    model = keras_modals.augment(task)
    assert model.preprocessor is task.preprocessor
    assert model.preprocessor not in model.layers
    assert [v.path for v in model.variables if "token" in v.path] == [
        v.path for v in keras_modals.augment(task).variables if "token" in v.path
    ]


def test_the_preprocessor_of_a_graph_is_none():
    inputs = keras.Input((4,))
    plain = keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs))
    plain.preprocessor = plain.layers[-1]
    assert keras_modals.augment(plain).preprocessor is None


def test_a_function_of_inputs_alone():
    inputs = keras.Input((4,))
    model = keras_modals.augment(
        keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs))
    )
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    expected = model.predict(2 * x, verbose=0)
    model.preprocessor = lambda x: 2 * x
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, 1e-5, 1e-5)
    model.compile("sgd", "sparse_categorical_crossentropy")
    y = np.arange(6) % 2
    assert model.evaluate(x, y, verbose=0) == pytest.approx(
        -np.log(expected[np.arange(6), y]).mean(), abs=1e-5
    )
    model.preprocessor = None
    np.testing.assert_allclose(model.predict(2 * x, verbose=0), expected, 1e-5, 1e-5)


# Files and copies -------------------------------------------------------------------


@pytest.mark.backend
def test_a_file_has_the_preprocessor(tmp_path):
    x, y = make_texts()
    model = keras_modals.augment(text_classifier(), seed=0)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs(loaded, x), outputs(model, x), 1e-6, 1e-6)
    # Both continue training identically.
    logs = [each.train_on_batch(x, y, return_dict=True) for each in (model, loaded)]
    check_alike(*logs)


def test_a_config_has_the_preprocessor():
    model = keras_modals.augment(text_classifier())
    again = keras_modals.ModalsModel.from_config(model.get_config())
    assert type(again.preprocessor) is type(model.preprocessor)
    assert again.preprocessor.sequence_length == LENGTH
    # As in KerasHub, only files include a vocabulary.
    assert again.preprocessor.tokenizer.vocabulary is None
    assert (
        "preprocessor"
        not in keras_modals.augment(text_classifier(preprocessor=None)).get_config()
    )


@pytest.mark.slow
@pytest.mark.backend
def test_the_inference_model_is_a_task(tmp_path):
    x, y = make_texts()
    task = text_classifier()
    model = keras_modals.augment(task, dropout=0.2)
    model.train_on_batch(x, y)
    expected = outputs(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        result = each.inference_model()
        assert type(result) is type(task)
        assert result.preprocessor is each.preprocessor
        np.testing.assert_allclose(outputs(result, x), expected, 1e-6, 1e-6)
    # It has its own weights.
    result.train_on_batch(x, y)
    np.testing.assert_allclose(outputs(loaded, x), expected, 1e-6, 1e-6)
    result.save(tmp_path / "task.keras")
    with zipfile.ZipFile(tmp_path / "task.keras") as file:
        config = json.loads(file.read("config.json"))
    assert config["class_name"] == "BertTextClassifier"
    assert "keras_modals" not in json.dumps(config)


def test_the_inference_model_of_a_class_without_config():
    class Own(keras_hub.models.BertTextClassifier):
        def __init__(self, backbone, needed, **kwargs):
            super().__init__(backbone, 2, **kwargs)

    x, _ = make_texts()
    task = text_classifier()
    model = keras_modals.augment(Own(task.backbone, 1, preprocessor=task.preprocessor))
    with pytest.warns(
        UserWarning, match=r"not a `Own`.*`model\.predict\(preprocessor\("
    ):
        plain = model.inference_model()
    found = outputs(plain, model.preprocessor(x))
    np.testing.assert_allclose(found, outputs(model, x), 1e-6, 1e-6)


@pytest.mark.slow
@pytest.mark.backend
def test_the_search_in_one_training(tmp_path):
    x, y = make_texts()
    search = keras_modals.SharedEncoderSearch(text_classifier(), 2, seed=0)
    search.fit(x, y, validation_split=0.3, epochs=2, verbose=0)
    expected = outputs(search, x)
    best, task = search.best_model(), search.inference_model()
    assert isinstance(task, keras_hub.models.BertTextClassifier)
    search.save(tmp_path / "search.keras")
    loaded = keras.saving.load_model(tmp_path / "search.keras")
    for model in (best, task, loaded, loaded.best_model()):
        np.testing.assert_allclose(outputs(model, x), expected, 1e-5, 1e-5)


def test_the_search_of_whole_trainings(tmp_path):
    x, y = make_texts()

    def build(hp):
        policy = keras_modals.tuners.policy_space(hp, ["class_mixing"])
        return keras_modals.augment(text_classifier(), policy=policy)

    tuner = PopulationBasedTuner(
        build,
        keras_tuner.Objective("val_sparse_categorical_accuracy", "max"),
        population_size=2,
        generations=1,
        epochs_per_generation=1,
        seed=0,
        directory=tmp_path,
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    (best,) = tuner.get_best_models(1)
    logs = best.test_on_batch(x, y, return_dict=True)
    score = tuner.oracle.get_best_trials(1)[0].score
    assert logs["sparse_categorical_accuracy"] == pytest.approx(score)


# Evaluation -------------------------------------------------------------------------


def test_latents_of_texts():
    x, y = make_texts()
    model = keras_modals.augment(text_classifier(), seed=0)
    frame = keras_modals.evaluation.latents_dataframe(model, x, np.array(y), {})
    assert frame["predicted"].tolist() == outputs(model, x).argmax(-1).tolist()


def test_compare_takes_texts():
    x, y = make_texts(40)
    monitors = []

    def none(trial, model):
        monitors.append(trial.monitor)
        return trial.fit(model)

    methods = {
        "none": none,
        "unlabeled": METHODS["latent mixing, unlabeled"].train,
        "one-run search": METHODS["one-run search"],
        "SMOTE": METHODS["SMOTE"],
        "input noise": METHODS["input noise"],
    }
    arguments = {"epochs": 1, "batch_size": 8, "verbose": 0}
    arguments["unlabeled"] = np.array([f"{text} {text}" for text in x])
    data = x, np.array(y)
    result = keras_modals.compare(text_classifier, data, methods, 1, **arguments)
    assert monitors == ["val_sparse_categorical_accuracy"]
    assert sorted(result.skipped) == ["SMOTE", "input noise"]
    assert result.skipped == {
        "SMOTE": "not applicable, needs inputs that are floats, not object",
        "input noise": "not applicable, needs a model without a preprocessor",
    }
    trained = set(methods) - set(result.skipped)
    assert set(result.summary().index.get_level_values("method")) == trained


def test_a_task_is_compiled_anew():
    task = text_classifier()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    recompile(task, loss=keras.losses.serialize(loss), metrics=["accuracy"])
    assert task.loss.name == "categorical_crossentropy"
    x, y = make_texts()
    logs = task.test_on_batch(x, np.eye(2)[y], return_dict=True)
    hits = outputs(task, x).argmax(-1) == y
    assert logs["accuracy"] == pytest.approx(hits.mean())


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        (["accuracy"], "accuracy"),
        (["acc"], "acc"),
        (["mae", keras.metrics.SparseCategoricalAccuracy("hits")], "hits"),
        (["sparse_categorical_accuracy"], "sparse_categorical_accuracy"),
        ([keras.metrics.sparse_categorical_accuracy], "sparse_categorical_accuracy"),
        ([keras.metrics.SparseTopKCategoricalAccuracy(2)], None),
        (None, None),
    ],
)
def test_the_name_of_an_accuracy(metrics, name):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=metrics)
    assert accuracy_log(model, LabelOutput()) == name
    if name:
        logs = model.fit(np.zeros((2, 2)), np.arange(2), verbose=0).history
        assert name in logs


@pytest.mark.parametrize("dtype", [object, str])
def test_compare_refuses_texts_where_a_model_takes_numbers(dtype):
    def build():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    x, y = make_texts()
    data = np.array(x, dtype=dtype)[:, None], np.array(y)
    with pytest.raises(ValueError, match=r"numeric inputs.*inputs of dtype"):
        keras_modals.compare(build, data, verbose=0)
