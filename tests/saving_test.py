import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from portable import BACKEND, array
from problems import compile_, make_data, modals_model, plain_model

import keras_modals
from keras_modals import (
    GaussianDiscriminator,
    Policy,
    Prior,
    Triplets,
    TripletSelector,
)

POLICY = Policy.constant(0.8, 0.5)


def make_model(**layer):
    model = modals_model(plain_model(dropout=0.3), policy=POLICY, **layer)
    return compile_(
        model,
        keras.optimizers.Adam(1e-2),
        terms=[
            Triplets(0.1, TripletSelector(2.0, "random", seed=4)),
            Prior(
                0.1, GaussianDiscriminator((8,), seed=0), keras.optimizers.Adam(1e-3)
            ),
        ],
    )


def train(model, x, y, epochs=1):
    return model.fit(
        x, y, batch_size=20, epochs=epochs, shuffle=False, verbose=0
    ).history


def state_of(model):
    """Returns the state from which training continues."""
    variables = [*model.variables, *model.optimizer.variables]
    return [array(variable) for variable in variables]


def assert_same_state(first, second, **tolerance):
    for a, b in zip(state_of(first), state_of(second), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def in_new_process(code, *arguments):
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.backend
def test_keras_file_brings_back_everything(tmp_path, rng):
    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_state(model, loaded, rtol=0)
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), loaded.predict(x, verbose=0)
    )
    assert loaded.latent_augmentation.policy == POLICY
    assert loaded.latent_augmentation.get_config() == (
        model.latent_augmentation.get_config()
    )
    # Compare as in a file, where a tuple is a list.
    configs = [json.dumps(each.get_compile_config()) for each in (loaded, model)]
    assert configs[0] == configs[1]
    assert loaded.terms[-1].discriminator.hidden_units == (8,)


@pytest.mark.slow
@pytest.mark.backend
def test_two_epochs_are_one_and_one_in_a_new_process(tmp_path, rng):
    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    model.save(tmp_path / "one.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    history = train(model, x, y)
    in_new_process(
        """
        import sys
        import keras, numpy as np
        import keras_modals
        folder = sys.argv[1]
        model = keras.models.load_model(folder + "/one.keras")
        data = np.load(folder + "/data.npz")
        history = model.fit(
            data["x"], data["y"], batch_size=20, shuffle=False, verbose=0
        ).history
        variables = [*model.variables, *model.optimizer.variables]
        np.savez(folder + "/state.npz", *map(keras.ops.convert_to_numpy, variables))
        np.savez(folder + "/history.npz", **history)
        """,
        tmp_path,
    )
    state = np.load(tmp_path / "state.npz")
    for a, name in zip(state_of(model), state.files, strict=True):
        np.testing.assert_allclose(a, state[name], rtol=1e-6, atol=1e-6)
    resumed = np.load(tmp_path / "history.npz")
    assert set(resumed.files) == set(history)
    for name, values in history.items():
        np.testing.assert_allclose(values, resumed[name], rtol=1e-6, atol=1e-6)


def test_weights_only(tmp_path, rng):
    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    model.save_weights(tmp_path / "model.weights.h5")
    other = make_model()
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_state(model, other, rtol=0)
    train(model, x, y)
    train(other, x, y)
    assert_same_state(model, other, rtol=1e-6, atol=1e-6)


def test_a_changed_policy_is_saved(tmp_path):
    model = make_model()
    changed = Policy.constant(0.1, 0.9)
    model.latent_augmentation.policy = changed
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.latent_augmentation.policy == changed


def test_a_term_by_its_weight_comes_back(tmp_path, rng):
    x, y = make_data(rng)
    model = keras_modals.augment(plain_model())
    compile_(model, prior_weight=0.1)
    train(model, x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_state(model, loaded, rtol=0)


def test_inference_model_loads_without_the_package(tmp_path, rng):
    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    plain = model.inference_model()
    assert type(plain).__module__.startswith("keras.")
    assert len(plain.weights) == 6
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), expected)
    plain.save(tmp_path / "plain.keras")
    np.savez(tmp_path / "data.npz", x=x, expected=expected)
    in_new_process(
        """
        import sys
        sys.modules["keras_modals"] = None  # Importing it raises an ImportError.
        import keras, numpy as np
        folder = sys.argv[1]
        model = keras.models.load_model(folder + "/plain.keras")
        data = np.load(folder + "/data.npz")
        np.testing.assert_array_equal(
            model.predict(data["x"], verbose=0), data["expected"]
        )
        """,
        tmp_path,
    )
    # The copy does not follow further training.
    train(model, x, y)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), expected)


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.skipif(BACKEND == "torch", reason="it fails for a plain model too")
def test_export(tmp_path, rng):
    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    model.export(tmp_path / "exported", verbose=False)
    import tensorflow as tf

    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(
        exported.serve(x), model.predict(x, verbose=0), rtol=1e-5
    )
    assert len(exported.variables) < len(model.variables)


@pytest.mark.skipif(BACKEND != "torch", reason="others need other converters")
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"
)
def test_export_to_onnx(tmp_path, rng):
    import onnxruntime

    x, y = make_data(rng)
    model = make_model()
    train(model, x, y)
    expected = model.predict(x, verbose=0)
    for name, each in (("augmented", model), ("plain", model.inference_model())):
        path = tmp_path / f"{name}.onnx"
        each.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path)
        (value,) = session.get_inputs()
        for part in (slice(None), slice(1)):
            (outputs,) = session.run(None, {value.name: x[part]})
            np.testing.assert_allclose(outputs, expected[part], rtol=1e-5, atol=1e-6)


def test_cloning(rng):
    x, _ = make_data(rng)
    model = make_model()
    clone = keras.models.clone_model(model)
    assert clone.latent_augmentation.policy == POLICY
    for target, source in zip(clone.layers, model.layers, strict=True):
        target.set_weights(source.get_weights())
    np.testing.assert_array_equal(
        clone.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def weights_of_terms(model):
    return {name: float(array(w)) for name, w in model.term_weights.items()}


@pytest.mark.backend
def test_a_term_of_weight_zero_for_now_goes_on_after_loading(rng, tmp_path):
    x, y = make_data(rng)
    values = [{"prior_weight": 0.0, "triplet_weight": 0.0}, {"prior_weight": 0.1}]
    schedule = keras_modals.PolicySchedule([(1, POLICY, each) for each in values])
    scheduler = keras_modals.PolicyScheduler(schedule, epochs=2)
    model = make_model()
    model.fit(x, y, batch_size=20, shuffle=False, verbose=0, callbacks=[scheduler])
    assert weights_of_terms(model) == {"triplet_weight": 0.0, "prior_weight": 0.0}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert weights_of_terms(loaded) == {"triplet_weight": 0.0, "prior_weight": 0.0}
    for each, other in zip(state_of(model), state_of(loaded), strict=True):
        np.testing.assert_array_equal(each, other)
    histories = [
        each.fit(
            x,
            y,
            batch_size=20,
            shuffle=False,
            verbose=0,
            initial_epoch=1,
            epochs=2,
            callbacks=[scheduler],
        ).history
        for each in (model, loaded)
    ]
    assert histories[0] == histories[1]
