"""Methods that train with `keras_modals.augment`."""

import dataclasses
import tempfile

import keras

from keras_modals._src.evaluation.compiled import (
    check_compiled,
    compile_like,
    compile_settings,
    knows_own_objects,
    recompile,
)
from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.models.augment import augment
from keras_modals._src.models.hub_task import preprocessor_of
from keras_modals._src.models.learning_rate import scale_learning_rate
from keras_modals._src.policies.policy import Policy
from keras_modals._src.search.member_graph import START
from keras_modals._src.search.shared_encoder_search import SharedEncoderSearch
from keras_modals._src.terms.term import TERMS


def latents(**arguments):
    """Returns a method that trains `augmented(trial, model, **arguments)`.

    The setting of the method adds further arguments.
    """

    def train(trial, model, **setting):
        return trial.fit(augmented(trial, model, **{**arguments, **setting}))

    return train


def augmented(trial, model, operation=None, magnitude=None, **arguments):
    """Returns `augment(model, **arguments)` with additional arguments.

    These are: a single operation with its magnitude, instead of a `policy`; weights of
    losses; and `learning_rate`, a factor for the learning rate.

    The place is the `layer` of the comparison, if it has one. Otherwise the default
    policy finds its places, and any other policy uses the head's input.
    """
    if operation is not None:
        arguments["policy"] = Policy.single(operation, magnitude)
    weights = {
        name: arguments.pop(name)
        for name in (term.weight_name() for term in TERMS.values())
        if name in arguments
    }
    scale_learning_rate(model, arguments.pop("learning_rate", 1.0))
    layer = "auto" if "policy" not in arguments else "head"
    layer = trial.layer or arguments.pop("layer", layer)
    arguments.pop("layer", None)
    output = trial.kind.output
    model = augment(
        model,
        layer,
        label_output=None if output.is_only else output.name,
        labels=trial.kind.labels,
        seed=trial.seed,
        **arguments,
    )
    check_compiled(model)
    if weights:
        recompile(model, **weights)
    return model


def beside(remedy):
    """Returns a method that combines latent mixing with one for rare classes."""

    def train(trial, model):
        return remedy(trial, augmented(trial, model))

    return train


def random_policy(trial, model):
    policy = Policy.random(trial.seed)
    return trial.fit(augmented(trial, model, policy=policy, num_views=4))


def one_run_search(trial, model):
    if trial.kind.labels.per_position:
        raise NotApplicableError("needs labels of whole samples")
    model = augmented(trial, model, layer="auto", **START)
    search = SharedEncoderSearch(model, seed=trial.seed)
    return trial.fit(search).best_model()


def _searched(hp):
    from keras_modals._src import tuners

    return {
        "policy": tuners.policy_space(hp, repeats=1),
        "num_views": 2,
        "dropout": hp.Float("dropout", 0.0, 0.9, step=0.1),
    }


def population_search(trial, model, population_size=8, space=_searched):
    """Searches with a population on Keras Tuner.

    Each member is `augmented(trial, model, **space(hp))`. Members are trained in turn
    and scored at the end of each generation, by the validation loss if there is no
    monitor. The best of all generations is returned.
    """
    import keras_tuner

    from keras_modals._src import tuners

    # Refuse settings that cannot be copied, which `clone_model` does as well.
    compile_settings(model)
    if trial.monitor is None:
        trial = dataclasses.replace(trial, monitor="val_loss")
    epochs = _divisor(trial.epochs, near=3)

    def build(hp):
        # The tuner exits all scopes before it builds.
        with knows_own_objects(model):
            clone = keras.models.clone_model(model)
            clone.set_weights(model.get_weights())
            compile_like(clone, model)
            member = augmented(trial, clone, **space(hp))
            # The clone of a task is not a task.
            member.preprocessor = preprocessor_of(model)
        return member

    with tempfile.TemporaryDirectory() as folder:
        tuner = tuners.PopulationBasedTuner(
            build,
            keras_tuner.Objective(trial.monitor, trial.direction),
            population_size=population_size,
            generations=trial.epochs // epochs,
            epochs_per_generation=epochs,
            # As in the measurements for README.md and docs/evidence.md.
            smoothing=0.0,
            seed=trial.seed,
            directory=folder,
        )
        samples = {} if trial.has_dataset else {"batch_size": trial.batch_size}
        tuner.search(
            *((trial.train,) if trial.has_dataset else trial.train),
            validation_data=trial.validation,
            verbose=0,
            **samples,
            **trial.fit_arguments,
        )
        return tuner.get_best_models(1)[0]


def _divisor(number, near):
    divisors = (n for n in range(1, number + 1) if number % n == 0)
    return min(divisors, key=lambda n: abs(n - near))
