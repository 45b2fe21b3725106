"""Recipes of latent mixing as hyperparameters."""

from collections import namedtuple

import keras

from keras_modals._src import operations as known
from keras_modals._src.layers.policy_layer import DEFAULT_POLICY
from keras_modals._src.models.augment import DEFAULT_WARMUP, augment
from keras_modals._src.models.compiling import compile_alike
from keras_modals._src.models.learning_rate import scale_learning_rate
from keras_modals._src.policies.policy import Policy
from keras_modals._src.terms.consistency import Consistency

PREFIX = "recipe/"

_TENTHS = [level / 10 for level in range(11)]


class Recipe(
    namedtuple(
        "Recipe",
        ["augment", "weights", "learning_rate", "terms", "unlabeled_ratio"],
        defaults=[(), None],
    )
):
    """The settings of latent mixing for a classifier.

    Attributes:
        augment: Dict of arguments of `keras_modals.augment`.
        weights: Dict of the weights of terms, arguments of `compile`.
        learning_rate: Float, the factor for the optimizer's learning rate.
        terms: Sequence of configs of terms, from `keras.saving.serialize_keras_object`.
        unlabeled_ratio: Integer, the number of unlabeled samples in a batch for each
            labeled one, for `keras_modals.join_unlabeled`; `None` to train with labeled
            samples only.
    """

    __slots__ = ()

    def apply(self, model, **arguments):
        """Returns a compiled `ModalsModel` for a compiled classifier.

        Args:
            model: A compiled classifier, for `keras_modals.augment`. Neither it nor
                its learning rate changes.
            **arguments: Further arguments of `augment`.
        """
        if not model.compiled:
            raise ValueError(
                "A recipe changes the settings of a compiled model: call `compile` "
                f"first. Received: model={model!r}"
            )
        result = augment(model, **{**self.augment, **arguments})
        terms = [keras.saving.deserialize_keras_object(term) for term in self.terms]
        compile_alike(result, model, **self.weights, terms=terms)
        if result.compiled:
            scale_learning_rate(result, self.learning_rate)
        return result


def recipe_space(hp, unlabeled=False, thresholds=(0.0, 0.6, 0.8, 0.95)):
    """Declares a recipe of latent mixing, and returns it.

    Works with every tuner of Keras Tuner. The default values are those of
    `keras_modals.augment`. With a probability of 0 and all other values at their
    defaults, the recipe trains the plain model.

    Args:
        hp: The `keras_tuner.HyperParameters` of a build function.
        unlabeled: Boolean, whether there are unlabeled samples. If so, the recipe also
            has the weight and threshold of a `keras_modals.Consistency`, and the number
            of unlabeled samples for each labeled one. Defaults to `False`.
        thresholds: Sequence of floats, the thresholds of pseudo-labels, with 0 for no
            pseudo-labels. Pass `(0.0,)` for a regression.

    Returns:
        A `Recipe`.

    Example:

    ```python
    def build(hp):
        return keras_modals.tuners.recipe_space(hp).apply(make_compiled_model())

    tuner = keras_tuner.BayesianOptimization(build, "val_accuracy", max_trials=20)
    ```
    """
    ((operation, probability, share),) = DEFAULT_POLICY.sub_policies

    def choose(name, values, default):
        return hp.Choice(PREFIX + name, values, default=default)

    places = choose("places", ["auto", "input", "head"], "auto")
    probability = choose("probability", _TENTHS, probability)
    share = choose("share", _TENTHS[1:], share)
    partners = choose("partners", ["any", "balanced"], "any")
    warmup = choose("warmup_steps", [0, 100, 300], DEFAULT_WARMUP)
    dropout = choose("dropout", _TENTHS[:8], 0.0)
    views = choose("num_views", [1, 2], 1)
    triplet = choose("triplet_weight", [0.0, 0.03, 0.1, 0.2, 0.3], 0.0)
    rate = choose("learning_rate", [0.5, 1.0, 2.0], 1.0)
    terms, ratio = [], None
    if unlabeled:
        weight = choose("consistency_weight", [0.0, 0.3, 1.0, 3.0], 1.0)
        default = 0.8 if 0.8 in thresholds else thresholds[0]
        threshold = choose("threshold", list(thresholds), default)
        ratio = choose("unlabeled_ratio", [1, 2, 4], 2)
        term = Consistency(weight, threshold or None)
        terms.append(keras.saving.serialize_keras_object(term))
        ratio = ratio if weight else None
    policy = Policy(
        {known.get(operation, {"partners": partners}): (probability, share)},
        DEFAULT_POLICY.operation_counts,
    )
    arguments = {
        "layer": places,
        "policy": policy,
        "warmup_steps": warmup,
        "dropout": dropout or None,
        "num_views": views,
    }
    return Recipe(arguments, {"triplet_weight": triplet}, rate, terms, ratio)
