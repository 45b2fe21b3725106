"""Numbers of a compiled model that change without tracing it again."""

from keras_modals.arguments import check_bounds
from keras_modals.layers.latent_dropout import LatentDropout
from keras_modals.models.graph import find_layers


def _assign_loss_weight(name, part):
    def assign(model, value):
        value = check_bounds(name, value)
        if value and not getattr(model, part):
            raise ValueError(
                f"`{name}` was 0 when the model was compiled, which left the term "
                f"out. Compile with a positive `{name}`. Received: {name}={value}"
            )
        getattr(model, name).assign(value)

    return assign


def _assign_dropout(model, value):
    value = check_bounds("dropout", value)
    layers = find_layers(model, LatentDropout)
    if not layers and value:
        raise ValueError(
            "The model has no `LatentDropout` layer: make it with "
            "`augment(model, dropout=0.0)`, or another rate. "
            f"Received: dropout={value}"
        )
    for layer in layers:
        layer.rate.assign(value)


def _assign_learning_rate(model, value):
    model.optimizer.learning_rate = check_bounds("learning_rate", value)


#: Name to `fn(model, value)`, which refuses values out of bounds.
ASSIGNABLE = {
    "triplet_weight": _assign_loss_weight("triplet_weight", "uses_triplet"),
    "prior_weight": _assign_loss_weight("prior_weight", "uses_prior"),
    "dropout": _assign_dropout,
    "learning_rate": _assign_learning_rate,
}


def assign(model, policy, values):
    """Assigns a policy and other numbers to a compiled `ModalsModel`.

    Raises:
        ValueError: For a name that is not in `ASSIGNABLE`, a value out of bounds, a
            policy with other operations than the layer's, or a part that is switched
            off.
    """
    unknown = [name for name in values if name not in ASSIGNABLE]
    if unknown:
        raise ValueError(
            f"Expected names among {list(ASSIGNABLE)}. Received: {unknown[0]!r}"
        )
    model.latent_augmentation.policy = policy
    for name, value in values.items():
        ASSIGNABLE[name](model, value)
