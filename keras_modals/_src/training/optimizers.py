"""One backward pass for several optimizers: the model's and those of terms."""


def total_loss(optimizer, terms, objective):
    """The scalar to differentiate once, with each part scaled by its optimizer.

    Args:
        optimizer: The model's optimizer.
        terms: The model's `training_terms`.
        objective: The `Objective`.
    """
    total = optimizer.scale_loss(objective.model_loss)
    for term, loss in zip(terms, objective.own_losses, strict=True):
        total = total + term.optimizer.scale_loss(loss)
    return total


def apply_gradients(model, terms, groups, gradients):
    """Updates the variables of all optimizers.

    Args:
        model: A `ModalsModel`.
        terms: Its `training_terms`.
        groups: List of lists of variables: the model's, and those of each term.
        gradients: List of the gradients of all groups, one after the other.
    """
    parts, start = [], 0
    for variables in groups:
        parts.append(gradients[start : start + len(variables)])
        start += len(variables)
    optimizers = [model.optimizer, *(term.optimizer for term in terms)]
    for optimizer, some, variables in zip(optimizers, parts, groups, strict=True):
        if not variables:
            continue
        if optimizer is model.optimizer:
            some = model.clip_gradients(some)
        optimizer.apply(some, variables)
