"""Assignment of numbers to a compiled model without retracing."""

from keras_modals._src.arguments import BOUNDS, check_bounds
from keras_modals._src.layers.latent_dropout import LatentDropout
from keras_modals._src.models.graph import find_layers


def _assign_dropout(model, value):
    value = check_bounds("dropout", value)
    layers = find_layers(model, LatentDropout)
    if not layers and value:
        raise ValueError(
            "The model has no `LatentDropout` layer. Create it with "
            "`augment(model, dropout=0.0)`, or another rate. "
            f"Received: dropout={value}"
        )
    for layer in layers:
        layer.rate.assign(value)


def _assign_learning_rate(model, value):
    model.optimizer.learning_rate = check_bounds("learning_rate", value)


def assign_value(name, model, value):
    """Assigns one of the numbers of `BOUNDS` to a compiled `ModalsModel`."""
    if name == "dropout":
        _assign_dropout(model, value)
    elif name == "learning_rate":
        _assign_learning_rate(model, value)
    else:
        _assign_weight(model, name, value)


def _assign_weight(model, name, value):
    value = check_bounds(name, value)
    weight = model.term_weights.get(name)
    if weight is not None:
        weight.assign(value)
    elif value:
        raise ValueError(
            f"`{name}` was 0 when the model was compiled, so the term was left out. "
            f"Compile with a positive `{name}`. Received: {name}={value}"
        )


def assign(model, policy, values):
    """Assigns a policy, or one for each layer, and other numbers to a compiled
    `ModalsModel`.

    Raises:
        ValueError: For a name that is not in `BOUNDS`, a value out of bounds, a policy
            with other operations than the layer's, or a part that is switched off.
    """
    unknown = [name for name in values if name not in BOUNDS]
    if unknown:
        raise ValueError(
            f"Expected names among {list(BOUNDS)}. Received: {unknown[0]!r}"
        )
    model.policies = policy
    for name, value in values.items():
        assign_value(name, model, value)
