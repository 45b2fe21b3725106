"""Stores the states of callbacks as plain data in the checkpoint of a member."""

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

#: Attributes that Keras's callbacks create again when a training begins.
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

#: The key for a state that is not a dict of attributes.
_STATE = "__getstate__"

#: The comparison functions that Keras's callbacks hold.
_COMPARISONS = {"less": keras.ops.less, "greater": keras.ops.greater}

_OF_KERAS = (
    keras.Layer,
    keras.Metric,
    keras.Optimizer,
    keras.Variable,
    keras.callbacks.Callback,
)


class CallbackError(ValueError):
    """Raised if the state of a callback cannot be stored between generations."""


def callback_list(callbacks):
    """Returns the callbacks of a search as a list.

    Raises:
        ValueError: If a callback cannot be used in a search.
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
                "An interrupted search resumes by itself. Leave out the callback "
                f"`{name}`, since all members would share its backup."
            )
        if isinstance(callback, keras.callbacks.CSVLogger) and not callback.append:
            raise ValueError(
                f"The callback `{name}` would empty its file each time that a member "
                "starts to train. Pass `append=True` to it."
            )
        try:
            copy.deepcopy(callback)
        except Exception as error:
            raise ValueError(
                f"The callback `{name}` cannot be copied, but every member trains with "
                f"its own copy. Received: {error}"
            ) from error
    return callbacks


class CallbackStates:
    """Writes and reads the attributes of callbacks as plain data.

    Parts of the model, the callbacks themselves, and the functions passed to them are
    written as references. A callback is identified by its class and its index among the
    callbacks of this class.

    Args:
        callbacks: The callbacks passed to the search. Members train with copies.
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
        """Returns digests of the callbacks' attributes at the start of a training, for
        `write`."""
        data = self._data(callbacks, model)
        return [
            {name: _digest(value, data) for name, value in vars(callback).items()}
            for callback in callbacks
        ]

    def write(self, callbacks, model, begun):
        """Returns the state of `callbacks` as data for JSON.

        Args:
            callbacks: Copies of the callbacks passed to the search.
            model: The model that they are used with.
            begun: The digests that `begin` returned.

        Raises:
            CallbackError: If an attribute has changed and is not plain data.
        """
        data = self._data(callbacks, model)
        states: dict = {}
        for key, callback, original, before in zip(
            self._names, callbacks, self._originals, begun, strict=True
        ):
            if callback is original:
                # A callback that is its own copy is shared by all members.
                continue
            states[key] = {}
            for name, value in _get_state(callback).items():
                try:
                    states[key][name] = data.write(value)
                except (NotPlainError, RecursionError) as error:
                    # It belongs to this training: the next one creates its own.
                    if isinstance(error, PartOfModelError) or isinstance(
                        value, io.IOBase
                    ):
                        continue
                    if before.get(name) == _digest(value, data):
                        continue
                    raise CallbackError(
                        f"The callback `{type(callback).__name__}` cannot continue in "
                        "the next generation, since training has changed its "
                        f"attribute `{name}`. Expected numbers, strings, arrays, or "
                        "lists, tuples, dicts and sets of these. Leave the attribute "
                        "out in a `__getstate__` of the class, and create it in "
                        f"`on_train_begin`. Received: {error}"
                    ) from error
        return states

    def read(self, states, callbacks, model):
        """Restores the state of `callbacks` that `write` returned."""
        data = self._data(callbacks, model)
        for name, callback in zip(self._names, callbacks, strict=True):
            if name not in states:
                # The callback was added after the search was interrupted.
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
            # Keep attributes that were left out, and the params of this training.
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
    """Returns a digest of a value's pickle, which is never read, or its id."""
    file = io.BytesIO()
    try:
        _Pickler(file, data).dump(value)
    except Exception:
        return id(value)
    return hashlib.sha256(file.getbuffer()).digest()


class _Pickler(cloudpickle.Pickler):
    """Pickles values to compare them; Keras objects are references or variables."""

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
    """Yields the functions in a value. They are never copied, since copies of closures
    would lose their link to the user's objects."""
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, dict | list | tuple | set):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _functions_in(each)
