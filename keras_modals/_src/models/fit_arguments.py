"""Arguments of `fit`."""

import inspect

import keras


def fit_arguments(model, *args, **kwargs):
    """Returns the arguments of `keras.Model.fit`, by name."""
    signature = inspect.signature(keras.Model.fit)
    arguments = signature.bind(model, *args, **kwargs).arguments
    arguments.pop("self")
    return arguments


def add_callbacks(arguments, *own, swapped=()):
    """Adds our own callbacks to arguments of `fit`, before others.

    Args:
        arguments: Dict.
        *own: Callbacks.
        swapped: List of callbacks that need the weights for inference. They come after
            a `SwapEMAWeights`.
    """
    given = arguments.get("callbacks")
    is_list = isinstance(given, keras.callbacks.CallbackList)
    # Ours come before its own, which read the logs, and once.
    types = tuple(type(callback) for callback in (*own, *swapped)) if is_list else ()
    others = given.callbacks if is_list else keras.tree.flatten(given or [])
    others = [each for each in others if not isinstance(each, types)]
    swaps = [isinstance(each, keras.callbacks.SwapEMAWeights) for each in others]
    start = len(swaps) - swaps[::-1].index(True) if any(swaps) else 0
    callbacks = [*own, *others[:start], *swapped, *others[start:]]
    if not is_list:
        arguments["callbacks"] = callbacks
        return
    given.callbacks[:] = callbacks
    for callback in (*own, *swapped):
        callback.set_params(given.params)
