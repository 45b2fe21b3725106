"""Realistic models train augmented, or raise an error of one sentence.

The tests compare the places and the predictions of all models, and train every second
one. `python tests/places_test.py` trains all of them.
"""

import os
import re
import sys

import keras
import numpy as np
import pytest
from places import PLACES, TENSORFLOW_ONLY, compile_as
from portable import BACKEND

import keras_modals
from keras_modals._src.models.graph import Graph, plain
from keras_modals._src.models.places import find_places, leading_to, signals
from keras_modals._src.models.selected_places import find_head

pytest.importorskip("tensorflow", reason="streams are `tf.data.Dataset`s")

#: Patterns of the error messages of models that raise an error. All others train.
REFUSED = {
    "text_classification_end_to_end": "Augment that model and build the outer one",
    "structured_data_from_scratch": "several tensors|no place",
    "actor_critic_cartpole": "several outputs",
}

#: The layers after which `augment` inserts its layers. A place with branches has
#: several. These are the places that it found, compared by eye with the graphs. A test
#: below checks that all paths pass through each place.
EXPECTED = {
    "oxford_pets_image_segmentation": [
        "input_layer",
        "add",
        "add_1",
        "add_3",
        "add_4",
    ],
    "ctc_asr": [
        "spectrogram",
        "batch_normalization",
        "bidirectional",
        "dense",
        "batch_normalization_3",
    ],
    "multi_label_classification": ["input_layer", "dense", "dense_1"],
    "mnist_convnet": [
        "input_layer",
        "conv2d",
        "max_pooling2d",
        "conv2d_1",
        "max_pooling2d_1",
    ],
    "image_classification_from_scratch": [
        "rescaling",
        "add",
        "add_1",
        "add_2",
        "global_average_pooling2d",
    ],
    "cct": ["data_augmentation", "add_1", "add_2", "add_3", "sequence_pooling"],
    "cct_operations": ["data_augmentation", "add_1", "add_2", "add_4", "squeeze"],
    "vision_transformer": ["data_augmentation", "add", "add_2", "add_3", "dense_6"],
    "mlp_image_classification": [
        "data_augmentation",
        "patches",
        "dense",
        "sequential_4",
        "global_average_pooling1d",
    ],
    "xray_classification": [
        "input_layer",
        "max_pooling2d",
        "sequential_2",
        "sequential_4",
        "sequential_6",
    ],
    "efficientnet_fine_tuning": ["avg_pool", "batch_normalization_7"],
    "image_classification_3d": [
        "input_layer",
        "batch_normalization",
        "max_pooling3d_1",
        "max_pooling3d_2",
        "dense",
    ],
    "text_classification_from_scratch": [
        "embedding",
        "conv1d",
        "conv1d_1",
        "global_max_pooling1d",
        "dense",
    ],
    "text_classification_vectorizer_inside": [
        "embedding",
        "conv1d",
        "conv1d_1",
        "global_max_pooling1d",
        "dense",
    ],
    "text_classification_with_transformer": [
        "token_and_position_embedding",
        "transformer_block",
        "global_average_pooling1d",
        "dense_2",
    ],
    "bidirectional_lstm_imdb": ["embedding", "bidirectional", "bidirectional_1"],
    "bidirectional_lstm_imdb_masked": ["embedding", "bidirectional", "bidirectional_1"],
    "pretrained_word_embeddings": [
        "embedding",
        "max_pooling1d",
        "conv1d_1",
        "conv1d_2",
        "dense",
    ],
    "active_learning_review_classification": [
        "embedding",
        "bidirectional",
        "global_max_pooling1d",
        "dense",
    ],
    "semantic_similarity_with_bert": ["bert_backbone", "bidirectional", "concatenate"],
    "semantic_similarity_with_keras_hub": ["bert_backbone"],
    "image_classifier_of_keras_hub": ["input_layer", "res_net_backbone", "pooler"],
    "text_classification_with_switch_transformer": [
        "token_and_position_embedding",
        "switch_block",
        "global_average_pooling1d",
        "dense_4",
    ],
    "structured_data_lookups_inside": ["concatenate", "dense"],
    "structured_data_feature_space": ["keras_tensor_10CLONE", "dense"],
    "structured_data_feature_space_end_to_end": ["tfd_concat", "dense"],
    "tabtransformer": ["add and concatenate_1", "concatenate_2", "MLP"],
    "tabtransformer_baseline": ["concatenate", "feedforward_0", "feedforward_1", "MLP"],
    "wide_and_deep": ["concatenate_1 and concatenate", "concatenate_2"],
    "deep_and_cross": ["concatenate", "concatenate_1"],
    "wide_deep_cross_baseline": [
        "concatenate",
        "batch_normalization",
        "re_lu",
        "dense_1",
        "re_lu_1",
    ],
    "timeseries_weather_forecasting": ["input_layer", "lstm"],
    "imbalanced_classification": ["input_layer", "dense", "dense_1", "dense_2"],
    "classification_with_grn_and_vsn": [
        "number_0 and number_1 and number_2 "
        "and category_0 and category_1 and category_2",
        "variable_selection",
    ],
    "timeseries_classification_from_scratch": [
        "input_layer",
        "batch_normalization",
        "batch_normalization_1",
        "conv1d_2",
        "global_average_pooling1d",
    ],
    "timeseries_classification_transformer": [
        "input_layer",
        "add",
        "add_1",
        "add_2",
        "dense",
    ],
    "eeg_signal_classification": [
        "input_layer",
        "conv1d_2",
        "batch_normalization_4",
        "dense",
        "dense_3",
    ],
    "speaker_recognition_using_cnn": [
        "input",
        "add_1",
        "max_pooling1d_2",
        "max_pooling1d_3",
        "dense_1",
    ],
    "attention_mil_classification": [
        "flatten_2 and flatten_1 and flatten",
        "concatenate",
    ],
    "siamese_contrastive": [
        "input_layer_1 and input_layer_2",
        "lambda",
        "batch_normalization_2",
    ],
    "supervised_contrastive_baseline": ["input_layer_2", "cifar10-encoder", "dense"],
    "gnn_citations_baseline": [
        "input_features",
        "skip_connection2",
        "skip_connection3",
        "skip_connection4",
        "skip_connection5",
    ],
    "mpnn_molecular_graphs": ["gated_readout", "dense_4"],
    "pointnet": ["input_layer", "dot", "conv1d_1", "batch_normalization", "dense_2"],
}

#: Warnings that may occur.
WARNED = {
    # Regularizers have no config, and a batch of one has no partner to mix with.
    "attention_mil_classification": ".*(shares its layers|had one sample)",
    "pointnet": ".*shares its layers",
    # On JAX, the plain model warns, too.
    "text_classification_from_scratch": "Explicitly requested dtype int64",
}

#: Models that Keras does not train even without augmentation: on PyTorch, those with
#: per-pixel losses.
PLAIN_FAILS = [("oxford_pets_image_segmentation", "torch")]


#: As a script, this file trains all. The tests train every second one on TensorFlow.
TRAIN_ALL = "TRAIN_ALL" in os.environ or BACKEND != "tensorflow"
TRAINED = [*list(PLACES)[::2], "multi_label_classification", "ctc_asr"]


def _cases():
    cases = []
    for name in PLACES:
        marks = []
        if name in TENSORFLOW_ONLY and BACKEND != "tensorflow":
            marks.append(
                pytest.mark.skip(reason="Keras has string tensors on TensorFlow only")
            )
        if name in WARNED:
            marks.append(pytest.mark.filterwarnings(f"ignore:{WARNED[name]}"))
        cases.append(pytest.param(name, marks=marks))
    return cases


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.parametrize("name", _cases())
def test_a_model_trains_augmented_or_is_refused_in_one_sentence(name):
    if (name, BACKEND) in PLAIN_FAILS:
        pytest.skip("Keras has no gradient of its sparse loss of pixels there")
    place = PLACES[name]()
    if name not in REFUSED:
        _check_training(place, EXPECTED[name], TRAIN_ALL or name in TRAINED)
        return
    _check_refusal(place, REFUSED[name])
    if place.model.compiled:
        assert np.isfinite(place.train(_eager(place.model)))


def _eager(model):
    """Runs eagerly on TensorFlow, where tracing would take most of a test's time."""
    model.run_eagerly = BACKEND == "tensorflow"
    return model


def _augment(place, **arguments):
    augmented = keras_modals.augment(place.model, seed=0, warmup_steps=0, **arguments)
    compile_as(augmented, place.model)
    return _eager(augmented)


STILL = keras_modals.Policy({"class_mixing": (0.0, 0.0)})


def _check_training(place, names, trains=True):
    original = _eager(place.model)
    same = _augment(place, policy=STILL)
    augmented = _augment(place)
    assert _places_of(augmented) == names
    assert _places_of(same) == names
    _check_paths(original)
    for model in (same, augmented):
        # Frozen layers stay frozen.
        assert len(model.trainable_weights) == len(original.trainable_weights)
    expected = place.predict(original)
    np.testing.assert_allclose(place.predict(augmented), expected, 1e-5, 1e-6)
    if not trains:
        return
    # Dropout draws from copies of the plain model's seeds.
    losses = []
    state = [np.array(keras.ops.convert_to_numpy(v)) for v in original.variables]
    for model in (original, same, augmented):
        # All models share a layer that cannot be copied, including its seeds.
        for variable, value in zip(original.variables, state):
            variable.assign(value)
        losses.append(place.train(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert np.isfinite(losses).all()


def _check_paths(model):
    """Checks that all paths from the inputs to the head include a place's tensors."""
    graph = Graph(plain(model))
    calls = leading_to(graph, graph.outputs[0])
    head = find_head(graph, calls)
    for place in find_places(graph, calls, head):
        without = {id(tensor) for tensor in place.tensors}
        reached = {id(tensor) for tensor in graph.inputs} - without
        for call in calls:
            if any(id(tensor) in reached for tensor in signals(call)):
                assert call is not head, place
                reached |= {id(tensor) for tensor in call.outputs} - without


def _places_of(model):
    """Returns the places that the summary names, without shapes."""
    return [re.sub(r" \([^)]*\)", "", where) for where, _ in model.found_places]


def _check_refusal(place, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011, matched below
        _train_augmented(place)
    message = str(refusal.value)
    assert re.search(sentence, message, re.IGNORECASE), message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


def _train_augmented(place):
    """Trains, or raises an error before a weight changes."""
    augmented = _augment(place)
    weights = augmented.get_weights()
    try:
        place.train(augmented)
    except ValueError:
        for before, after in zip(weights, augmented.get_weights()):
            np.testing.assert_array_equal(before, after)
        raise


#: Intermediate places in models of `keras.applications`.
APPLICATIONS = {
    "ResNet50": ["conv3_block1_add", "conv4_block1_add", "conv4_block5_add"],
    "EfficientNetB0": [
        "block3a_project_bn",
        "block5a_expand_conv",
        "block6a_project_bn",
    ],
    "MobileNet": ["conv_pw_3_bn", "conv_dw_7", "conv_pw_10"],
    "MobileNetV2": ["block_3_project_BN", "block_8_add", "block_12_add"],
    "ConvNeXtTiny": ["add_3", "add_8", "add_13"],
    "DenseNet121": [
        "conv3_block8_concat",
        "conv4_block10_concat",
        "conv5_block1_concat",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_places_in_applications(name):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), classes=5)
    augmented = keras_modals.augment(model, seed=0)
    first, *inner, last = _places_of(augmented)
    assert inner == APPLICATIONS[name]
    assert "pool" in last or "norm" in last
    assert first.startswith("input_layer") or "normalization" in first
    x = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(augmented(x)), keras.ops.convert_to_numpy(model(x))
    )


@pytest.mark.slow
def test_a_network_that_is_frozen_or_runs_as_at_inference_has_no_place_inside():
    """This is the case in transfer learning."""
    inputs = keras.Input((32, 32, 3))
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )

    def places(frozen, training):
        base.trainable = not frozen
        hidden = keras.layers.RandomFlip()(inputs)
        hidden = keras.layers.Rescaling(1 / 127.5, -1)(hidden)
        hidden = base(hidden, training=training)
        hidden = keras.layers.GlobalAveragePooling2D()(hidden)
        hidden = keras.layers.Dropout(0.2)(hidden)
        hidden = keras.layers.Dense(16, "relu", name="own")(hidden)
        model = keras.Model(inputs, keras.layers.Dense(5, "softmax")(hidden))
        return keras_modals.augment(model).found_places

    frozen = places(True, False)
    assert [why for _, why in frozen] == ["after frozen layers", "the head's input"]
    assert frozen[0][0].startswith("global_average_pooling2d")
    assert frozen[1][0] == "own (16,)"
    trained = places(False, False)
    first, inside, pooled, last = [where for where, _ in trained]
    assert first.startswith("rescaling")
    assert inside.startswith(base.name)
    assert pooled.startswith("global_average_pooling2d")
    assert last == "own (16,)"


if __name__ == "__main__":
    os.environ["TRAIN_ALL"] = "1"
    sys.exit(pytest.main([__file__, "-n0", "-q"]))
