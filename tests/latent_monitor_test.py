import itertools

import keras
import numpy as np
import pytest
from problems import NUM_CLASSES, compile_, make_data, modals_model, plain_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import keras_modals
from keras_modals import Policy
from keras_modals._src.evaluation.latents import LatentProbe
from keras_modals.evaluation import LatentMonitor, latents_dataframe

SHARES = "val_relabeled_gaussian_noise", "val_relabeled_hard_extrapolation"
POLICY = Policy({"gaussian_noise": (0.5, 0.3), "hard_extrapolation": (0.5, 0.9)})


def watched(rng, *callbacks, epochs=3, **arguments):
    x, y = make_data(rng, 90)
    model = compile_(modals_model(policy=POLICY, **arguments), triplet_weight=0.1)
    monitor = LatentMonitor(x[:60], y[:60])
    history = model.fit(
        x, y, epochs=epochs, callbacks=[monitor, *callbacks], verbose=0
    ).history
    return model, monitor, history, (x[:60], y[:60])


class KeepLatents(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.latents = []

    def on_epoch_end(self, epoch, logs=None):
        model = self.model
        encoder = keras.Model(model.input, model.get_layer("latents").output)
        self.latents.append(encoder(self.x))


def test_without_a_memory_operations_look_up_the_samples_themselves(rng):
    x, y = make_data(rng, 60)
    model = compile_(modals_model(policy=Policy.single("class_mixing", 0.5)))
    model.fit(x, y, verbose=0)
    assert model.latent_augmentation.memory is None
    frame = latents_dataframe(model, x, y, {"hard_extrapolation": 0.5})
    features = [name for name in frame if name.startswith("z")]
    clean, moved = (
        frame[frame["operation"] == name].reset_index(drop=True)
        for name in ("none", "hard_extrapolation")
    )
    centers = clean.groupby("label")[features].transform("mean")
    expected = clean[features] + 0.5 * (clean[features] - centers)
    np.testing.assert_allclose(moved[features], expected, atol=1e-5)


def test_spread_and_drift_by_hand(rng):
    keep = KeepLatents()
    keep.x = make_data(np.random.default_rng(0), 90)[0][:60]
    _, monitor, history, (x, y) = watched(np.random.default_rng(0), keep)
    np.testing.assert_array_equal(keep.x, x)
    latents = [keras.ops.convert_to_numpy(z) for z in keep.latents]
    for label in range(NUM_CLASSES):
        rows = monitor.frame.query("label == @label")
        assert rows["epoch"].tolist() == [1, 2, 3]
        assert set(rows["samples"]) == {np.sum(y == label)}
        of_class = [z[y == label] for z in latents]
        spreads = [np.sqrt(z.var(axis=0).sum()) for z in of_class]
        np.testing.assert_allclose(rows["spread"], spreads, rtol=1e-4)
        centers = [z.mean(axis=0) for z in of_class]
        moved = [np.linalg.norm(b - a) for a, b in itertools.pairwise(centers)]
        drifts = [np.nan, *(m / s for m, s in zip(moved, spreads[1:]))]
        np.testing.assert_allclose(rows["drift"], drifts, rtol=1e-3)
    means = monitor.frame.groupby("epoch")["spread"].mean()
    np.testing.assert_allclose(history["val_spread"], means, rtol=1e-6)
    assert len(history["val_drift"]) == 2


@pytest.mark.parametrize("outputs", [NUM_CLASSES, 1])
def test_what_the_head_sees_is_what_the_model_predicts(outputs, rng):
    keras.utils.set_random_seed(0)
    x, y = make_data(rng, 90)
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(6)])
    model.add(keras.layers.Dense(outputs))
    model = keras_modals.augment(model, num_classes=max(outputs, 2))
    kind = "SparseCategorical" if outputs > 1 else "Binary"
    loss = getattr(keras.losses, f"{kind}Crossentropy")(from_logits=True)
    compile_(model, keras.optimizers.Adam(1e-2), loss=loss)
    y = y if outputs > 1 else y > 0
    probe = LatentProbe(model)
    model.fit(x, y, epochs=2, verbose=0)
    # This includes a probe that was created before the training.
    for clean in (probe.frame(x, y, {}), latents_dataframe(model, x, y, {})):
        logits = model.predict(x, verbose=0)
        expected = logits.argmax(-1) if outputs > 1 else logits[:, 0] > 0
        assert clean["predicted"].tolist() == expected.tolist()
        assert len(set(expected)) > 1


def test_a_move_across_the_border_is_relabeled(rng):
    x, y = make_data(rng, 90)
    model = compile_(modals_model(policy=POLICY))
    shares = {}
    for magnitude in (0.0, 1.0):
        operations = {"hard_extrapolation": magnitude, "difference_transform": 1.0}
        monitor = LatentMonitor(x, y, operations)
        model.fit(x, y, epochs=1, callbacks=[monitor], verbose=0)
        shares[magnitude] = monitor.frame["relabeled_hard_extrapolation"].mean()
        assert monitor.frame["relabeled_difference_transform"].mean() > 0
    assert shares[0.0] == 0
    frame = latents_dataframe(model, x, y, operations)
    clean, moved = (
        frame.query("operation == @name")["predicted"].to_numpy()
        for name in ("none", "hard_extrapolation")
    )
    by_class = [np.mean((clean != moved)[y == label]) for label in range(NUM_CLASSES)]
    assert shares[1.0] == pytest.approx(np.mean(by_class))


def test_tensorboard_has_them_as_scalars(rng, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path)
    _, _, history, _ = watched(rng, board, epochs=2)
    events = EventAccumulator(str(tmp_path / "validation")).Reload()
    for name in ("val_spread", *SHARES):
        tensors = events.Tensors(f"epoch_{name.removeprefix('val_')}")
        found = [make_ndarray(event.tensor_proto) for event in tensors]
        np.testing.assert_allclose(found, history[name], rtol=1e-6)


def test_the_model_is_left_as_it_is(rng):
    weights = []
    for monitors in (True, False):
        keras.utils.set_random_seed(0)
        x, y = make_data(np.random.default_rng(1), 90)
        model = compile_(modals_model(policy=POLICY), triplet_weight=0.1)
        callbacks = [LatentMonitor(x[:60], y[:60])] if monitors else []
        model.fit(x, y, epochs=3, callbacks=callbacks, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for watched_, alone in zip(*weights, strict=True):
        np.testing.assert_allclose(watched_, alone, rtol=1e-5, atol=1e-6)


def test_refuses_other_models(rng):
    model = compile_(plain_model())
    x, y = make_data(rng, 30)
    with pytest.raises(ValueError, match="needs a `keras_modals"):
        model.fit(x, y, callbacks=[LatentMonitor(x, y)], verbose=0)
