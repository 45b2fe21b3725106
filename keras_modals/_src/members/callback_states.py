"""What callbacks know, as bytes that travel with the checkpoint of a member."""

import contextlib
import copy
import io
import pickle
import types

import cloudpickle
import keras

#: Attributes that Keras's callbacks make anew when a training begins.
_MADE_ANEW = {
    keras.callbacks.CSVLogger: ("append_header", "csv_file", "keys", "writer"),
    keras.callbacks.TensorBoard: (
        "_batch_trace_context",
        "_prev_summary_state",
        "_summary_module",
        "_writers",
    ),
}


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
    """Writes and reads what callbacks know: their attributes.

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
            (name, index): function
            for name, callback in zip(self._names, callbacks, strict=True)
            for index, function in enumerate(_functions_of(callback, callbacks))
        }

    def attributes(self, callbacks):
        """The callbacks' attributes as they are now, for `write` to compare with."""
        return [dict(vars(callback)) for callback in callbacks]

    def write(self, callbacks, model, begun):
        """The state of `callbacks`, as bytes.

        Args:
            callbacks: Copies of those that the search was given.
            model: The model that they are used with.
            begun: What `attributes` was before the training.

        Raises:
            CallbackError: For an attribute that has changed and cannot be pickled.
        """
        places = self._places(callbacks, model)
        states: dict = {}
        for key, callback, original, before in zip(
            self._names, callbacks, self._originals, begun, strict=True
        ):
            if callback is original:
                # One that is its own copy is shared by all members.
                continue
            state = states[key] = _get_state(callback)
            if not isinstance(state, dict):
                continue
            for name, value in list(state.items()):
                error = _error_of(value, places)
                if error is None:
                    continue
                del state[name]
                if not (
                    value is before.get(name)
                    # Of this training only: the next one makes its own.
                    or isinstance(value, io.IOBase)
                    or isinstance(error, _PartOfModelError)
                ):
                    raise CallbackError(
                        f"The callback `{type(callback).__name__}` cannot go on from "
                        f"generation to generation: its attribute `{name}` cannot be "
                        "pickled. Leave it out in a `__getstate__` of the class, and "
                        f"make it in `on_train_begin`. Received: {error}"
                    )
        return _dump(states, places)

    def read(self, content, callbacks, model):
        """Gives `callbacks` the state that `write` returned."""
        places = self._places(callbacks, model)
        states = _Unpickler(io.BytesIO(content), places).load()
        for name, callback in zip(self._names, callbacks, strict=True):
            if name not in states:
                # Not part of the search before it was interrupted.
                continue
            state = states[name]
            fresh = dict(vars(callback))
            if hasattr(callback, "__setstate__"):
                callback.__setstate__(state)
            else:
                vars(callback).update(state)
            # What was left out stays, and what this training told it.
            now = {**fresh, **vars(callback), "params": fresh["params"]}
            vars(callback).update(now)

    def _places(self, callbacks, model):
        """Key to what is written as a reference."""
        optimizers = model.optimizers
        kinds = {
            "layer": list(_layers(model)),
            "variable": model.variables,
            "optimizer": optimizers,
            "slot": [v for optimizer in optimizers for v in optimizer.variables],
            "metric": model.metrics,
        }
        places = {
            (kind, index): thing
            for kind, things in kinds.items()
            for index, thing in enumerate(things)
        }
        return {
            **places,
            **dict(zip(self._names, callbacks, strict=True)),
            **self._functions,
        }


def _layers(layer):
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from _layers(inner)


def _get_state(callback):
    if type(callback).__getstate__ is not object.__getstate__:
        return callback.__getstate__()
    left_out = {"params"}
    for kind, names in _MADE_ANEW.items():
        if isinstance(callback, kind):
            left_out.update(names)
    return {n: value for n, value in vars(callback).items() if n not in left_out}


def _error_of(value, places):
    try:
        _dump(value, places)
    except Exception as error:
        return error
    return None


def _dump(value, places):
    file = io.BytesIO()
    _Pickler(file, places).dump(value)
    return file.getvalue()


class _PartOfModelError(pickle.PicklingError):
    """A layer shares variables with the model, and is not one of its layers."""


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file, places):
        super().__init__(file)
        self._keys = {id(thing): key for key, thing in places.items()}

    def persistent_id(self, thing):
        key = self._keys.get(id(thing))
        if key is None and isinstance(thing, keras.Layer) and self._shares(thing):
            # Pickled, it would become another layer.
            raise _PartOfModelError(thing.name)
        return key

    def _shares(self, layer):
        return any(id(variable) in self._keys for variable in layer.variables)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, places):
        super().__init__(file)
        self._places = places

    def persistent_load(self, key):
        # Without those of a callback that is not part of the search any more.
        return self._places.get(key)


def _functions_of(callback, callbacks):
    """The functions that a callback holds. They are never copied: those that close over
    something of the user's would lose it."""
    finder = _FunctionFinder(callbacks)
    for value in vars(callback).values():
        # What cannot be pickled may still never change.
        with contextlib.suppress(Exception):
            finder.dump(value)
    return finder.functions


class _FunctionFinder(cloudpickle.Pickler):
    def __init__(self, callbacks):
        super().__init__(io.BytesIO())
        self._callbacks = callbacks
        self.functions: list = []

    def persistent_id(self, thing):
        if any(thing is callback for callback in self._callbacks):
            return "callback"
        if not isinstance(thing, types.FunctionType):
            return None
        if not any(thing is function for function in self.functions):
            self.functions.append(thing)
        return "function"
