"""Runs a few training steps on one Keras backend, and writes the results to a file.

    KERAS_BACKEND=jax python tests/backend_step.py result.npz model.keras

Writes `model.keras` if it does not exist, and otherwise also loads and uses it.
Weights, batch and all draws are fixed, so all backends must give the same results.
"""

import os
import sys
import tempfile

import keras
import numpy as np
from problems import NUM_CLASSES, compile_, make_data, plain_model

import keras_modals
from keras_modals import Policy, PolicyScheduler, tuners
from keras_modals._src import backend


def fixed_draws():
    """Replaces all draws with numbers that depend only on their shape."""

    def drawn(kind):
        def draw(shape, seed=None, **_):
            size = tuple(int(n) for n in shape)
            rng = np.random.default_rng(len(size) + sum(size))
            return keras.ops.convert_to_tensor(getattr(rng, kind)(size=size), "float32")

        return draw

    backend.uniform, backend.normal = drawn("uniform"), drawn("normal")
    keras.random.normal = drawn("normal")


def make_model(policy=None):
    layer = {
        "policy": policy or Policy.constant(0.7, 0.5, repeats=1),
        "num_views": 3,
        "dropout": 0.2,
    }
    model = keras_modals.augment(
        plain_model(),
        "latents",
        **layer,
    )
    compile_(
        model,
        keras.optimizers.SGD(0.1, momentum=0.9),
        triplet_weight=0.2,
        prior_weight=0.1,
        jit_compile="auto",
        # In a TensorFlow graph, shapes are still unknown when numbers are drawn.
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    rng = np.random.default_rng(1)
    variables = model.trainable_variables + model.terms[-1].own_variables
    for variable in variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return model


def results_of(model, logs):
    results = {f"log {name}": float(value) for name, value in logs.items()}
    layer = model.latent_augmentation
    variables = model.trainable_variables + model.terms[-1].own_variables
    variables += layer.memory.weights
    for index, variable in enumerate(variables):
        name = f"{index} {variable.path}"
        results[name] = keras.ops.convert_to_numpy(variable)
    return results


def main(path, model_path):
    fixed_draws()
    x, y = make_data(np.random.default_rng(0), 30)
    model = make_model()
    for _ in range(3):
        logs = model.train_on_batch(x, y, return_dict=True)
    results = results_of(model, logs)
    if not os.path.exists(model_path):
        model.save(model_path)
    loaded = keras.models.load_model(model_path)
    results["loaded predictions"] = loaded.predict(x, verbose=0)
    loaded.train_on_batch(x, y)
    for name, value in results_of(loaded, {}).items():
        results[f"loaded {name}"] = value

    search = keras_modals.SharedEncoderSearch(model, 3, initial="policy", seed=0)
    search.fit(
        x, y, batch_size=30, epochs=4, validation_data=(x, y), shuffle=False, verbose=0
    )
    results["search scores"] = [r["scores"] for r in search.population.records]
    results["search predictions"] = search.best_model().predict(x, verbose=0)
    assert results["search predictions"].shape == (30, NUM_CLASSES)
    results["tuner scores"] = tuner_scores(x, y)
    np.savez(path, **results)


def tuner_scores(x, y):
    """Returns the scores of a small population by generation and member."""

    def build(hp):
        return make_model(tuners.policy_space(hp, repeats=1))

    with tempfile.TemporaryDirectory() as folder:
        tuner = tuners.PopulationBasedTuner(
            build, "val_loss", 2, 3, epochs_per_generation=1, directory=folder, seed=0
        )
        arguments = {"batch_size": 30, "shuffle": False, "verbose": 0}
        tuner.search(x, y, validation_data=(x, y), **arguments)
        trials = tuner.oracle.trials.values()
        values = [trial.hyperparameters.values for trial in trials]
        order = [(v["tuner/generation"], v["tuner/member"]) for v in values]
        scores = [score for _, score in sorted(zip(order, [t.score for t in trials]))]
        schedule = tuner.best_schedule()
    model = make_model(schedule.segments[0].policy)
    scheduler = PolicyScheduler(schedule)
    model.fit(x, y, batch_size=30, epochs=3, verbose=0, callbacks=[scheduler])
    return scores


if __name__ == "__main__":
    main(*sys.argv[1:])
