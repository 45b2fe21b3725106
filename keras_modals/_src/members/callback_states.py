"""What callbacks know, as plain data that travels with the checkpoint of a member."""

import copy
import hashlib
import io
import types

import cloudpickle
import keras

from keras_modals._src.members.plain_data import (
    NotPlainError,
    PartOfModelError,
    PlainData,
)

#: Attributes that Keras's callbacks make anew when a training begins.
_MADE_ANEW = {
    keras.callbacks.CSVLogger: ("append_header", "csv_file", "keys", "writer"),
    keras.callbacks.ProgbarLogger: ("progbar",),
    keras.callbacks.TensorBoard: (
        "_batch_trace_context",
        "_prev_summary_state",
        "_summary_module",
        "_writers",
    ),
}

#: The name of a state that is no dict of attributes.
_STATE = "__getstate__"

#: What Keras's callbacks hold as soon as they know what is better.
_COMPARISONS = {"less": keras.ops.less, "greater": keras.ops.greater}

_OF_KERAS = (
    keras.Layer,
    keras.Metric,
    keras.Optimizer,
    keras.Variable,
    keras.callbacks.Callback,
)


class CallbackError(ValueError):
    """What a callback knows cannot be kept from generation to generation."""


def callback_list(callbacks):
    """The callbacks of a search as a list.

    Raises:
        ValueError: For one that cannot be used in a search.
    """
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback) or isinstance(
            callback, keras.callbacks.CallbackList
        ):
            raise ValueError(
                "Invalid value received for argument `callbacks`. Expected instances "
                f"of `keras.callbacks.Callback`. Received: {callback!r}"
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "A search goes on by itself where it was interrupted. Leave the "
                f"callback `{name}` out, whose backup all members would share."
            )
        if isinstance(callback, keras.callbacks.CSVLogger) and not callback.append:
            raise ValueError(
                f"The callback `{name}` would empty its file whenever a member begins "
                "to train. Pass `append=True` to it."
            )
        try:
            copy.deepcopy(callback)
        except Exception as error:
            raise ValueError(
                f"Every member trains with a copy of the callback `{name}`, which "
                f"cannot be copied. Received: {error}"
            ) from error
    return callbacks


class CallbackStates:
    """Writes and reads what callbacks know: their attributes, as plain data.

    What belongs to the model, the callbacks themselves, and the functions that they
    were made with are written as references. A callback is known by its class, and its
    place among those of its class.

    Args:
        callbacks: The callbacks that the search was given. Members train with copies.
    """

    def __init__(self, callbacks):
        self._originals = callbacks
        kinds = [type(callback).__name__ for callback in callbacks]
        self._names = [
            f"{kind}/{kinds[:index].count(kind)}" for index, kind in enumerate(kinds)
        ]
        self._functions = {
            f"function/{name}/{index}": function
            for name, callback in zip(self._names, callbacks, strict=True)
            for index, function in enumerate(_functions_in(vars(callback)))
        }

    def begin(self, callbacks, model):
        """What the callbacks' attributes are as a training begins, for `write` to
        compare with."""
        data = self._data(callbacks, model)
        return [
            {name: _digest(value, data) for name, value in vars(callback).items()}
            for callback in callbacks
        ]

    def write(self, callbacks, model, begun):
        """The state of `callbacks`, as JSON can hold it.

        Args:
            callbacks: Copies of those that the search was given.
            model: The model that they are used with.
            begun: What `begin` returned.

        Raises:
            CallbackError: For an attribute that has changed and is no plain data.
        """
        data = self._data(callbacks, model)
        states: dict = {}
        for key, callback, original, before in zip(
            self._names, callbacks, self._originals, begun, strict=True
        ):
            if callback is original:
                # One that is its own copy is shared by all members.
                continue
            states[key] = {}
            for name, value in _get_state(callback).items():
                try:
                    states[key][name] = data.write(value)
                except (NotPlainError, RecursionError) as error:
                    # Of this training only: the next one makes its own.
                    if isinstance(error, PartOfModelError) or isinstance(
                        value, io.IOBase
                    ):
                        continue
                    if before.get(name) == _digest(value, data):
                        continue
                    raise CallbackError(
                        f"The callback `{type(callback).__name__}` cannot go on from "
                        "generation to generation: a training has changed its "
                        f"attribute `{name}`. Expected numbers, strings, arrays, or "
                        "lists, tuples, dicts and sets of them. Leave the attribute "
                        "out in a `__getstate__` of the class, and make it in "
                        f"`on_train_begin`. Received: {error}"
                    ) from error
        return states

    def read(self, states, callbacks, model):
        """Gives `callbacks` the state that `write` returned."""
        data = self._data(callbacks, model)
        for name, callback in zip(self._names, callbacks, strict=True):
            if name not in states:
                # Not part of the search before it was interrupted.
                continue
            fresh = dict(vars(callback))
            written = states[name].items()
            state = {key: data.read(value, fresh.get(key)) for key, value in written}
            if set(state) == {_STATE}:
                state = state[_STATE]
            if hasattr(callback, "__setstate__"):
                callback.__setstate__(state)
            else:
                vars(callback).update(state)
            # What was left out stays, and what this training told it.
            now = {**fresh, **vars(callback), "params": fresh["params"]}
            vars(callback).update(now)

    def _data(self, callbacks, model):
        optimizers = model.optimizers
        kinds = {
            "layer": list(_layers(model)),
            "variable": model.variables,
            "optimizer": optimizers,
            "slot": [v for optimizer in optimizers for v in optimizer.variables],
            "metric": model.metrics,
        }
        places = {
            f"{kind}/{index}": thing
            for kind, things in kinds.items()
            for index, thing in enumerate(things)
        }
        named = dict(zip(self._names, callbacks, strict=True))
        return PlainData({**places, **named, **self._functions, **_COMPARISONS})


def _layers(layer):
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from _layers(inner)


def _get_state(callback):
    if type(callback).__getstate__ is not object.__getstate__:
        state = callback.__getstate__()
        return state if isinstance(state, dict) else {_STATE: state}
    left_out = {"params"}
    for kind, names in _MADE_ANEW.items():
        if isinstance(callback, kind):
            left_out.update(names)
    return {n: value for n, value in vars(callback).items() if n not in left_out}


def _digest(value, data):
    """What differs where a value does: of a pickle, which nobody reads, or its id."""
    file = io.BytesIO()
    try:
        _Pickler(file, data).dump(value)
    except Exception:
        return id(value)
    return hashlib.sha256(file.getbuffer()).digest()


class _Pickler(cloudpickle.Pickler):
    """Pickles for a comparison: what Keras makes is a reference, or its variables."""

    def __init__(self, file, data):
        super().__init__(file)
        self._data = data

    def persistent_id(self, thing):
        if not isinstance(thing, _OF_KERAS):
            return None
        try:
            return self._data.write(thing)
        except NotPlainError:
            return type(thing).__name__


def _functions_in(value):
    """The functions in a value. They are never copied: those that close over something
    of the user's would lose it."""
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, dict | list | tuple | set):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _functions_in(each)
