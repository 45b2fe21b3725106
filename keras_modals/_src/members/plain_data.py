"""Writes values as JSON. Reading runs no code and looks up no classes."""

import base64

import keras
import numpy as np

_COLLECTIONS = {kind.__name__: kind for kind in (tuple, set, frozenset)}


class NotPlainError(TypeError):
    """Raised for a value that cannot be written as plain data."""


class PartOfModelError(NotPlainError):
    """Raised for a layer that shares variables with the model but is not part of it."""


class PlainData:
    """Writes values as plain data, and reads them.

    Plain data are numbers, strings, arrays, and lists, tuples, dicts and sets of these;
    and references to objects that both sides have. Layers, metrics and optimizers that
    are not part of the model are written as their variables.

    Args:
        places: Dict from strings to the objects that are written as references.
    """

    def __init__(self, places):
        self._places = places
        self._keys = {id(thing): key for key, thing in places.items()}

    def write(self, value):
        """Returns a value as data for JSON.

        Raises:
            NotPlainError: If the class of the value is not supported.
        """
        kind = type(value)
        if id(value) in self._keys:
            return {"is": self._keys[id(value)]}
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is list:
            return [self.write(each) for each in value]
        if kind is dict:
            items = value.items()
            return {"dict": [[self.write(key), self.write(v)] for key, v in items]}
        if kind.__name__ in _COLLECTIONS and kind in _COLLECTIONS.values():
            return {kind.__name__: [self.write(each) for each in value]}
        if keras.ops.is_tensor(value):
            return {"tensor": _write_array(keras.ops.convert_to_numpy(value))}
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O":
            return {"array": _write_array(value)}
        if isinstance(value, keras.Layer | keras.Metric | keras.Optimizer):
            if any(id(variable) in self._keys for variable in value.variables):
                raise PartOfModelError(value.name)
            values = map(keras.ops.convert_to_numpy, value.variables)
            return {"variables": [_write_array(each) for each in values]}
        raise NotPlainError(f"a value of the class `{kind.__name__}`")

    def read(self, content, fresh=None):
        """Returns the value that was written.

        Args:
            content: The data that `write` returned.
            fresh: The current object in its place, whose variables are assigned.
        """
        if isinstance(content, list):
            return [self.read(each) for each in content]
        if not isinstance(content, dict):
            return content
        ((key, content),) = content.items()
        if key == "is":
            # `None` for an object that is no longer part of the search.
            return self._places.get(content)
        if key == "dict":
            return {self.read(name): self.read(value) for name, value in content}
        if key == "tensor":
            return keras.ops.convert_to_tensor(_read_array(content))
        if key == "array":
            return _read_array(content)
        if key == "variables":
            for variable, value in zip(fresh.variables, content, strict=True):
                variable.assign(_read_array(value))
            return fresh
        return _COLLECTIONS[key](self.read(content))


def _write_array(value):
    content = base64.b64encode(value.tobytes()).decode()
    return [str(value.dtype), list(value.shape), content]


def _read_array(written):
    dtype, shape, content = written
    array = np.frombuffer(base64.b64decode(content), np.dtype(dtype))
    # The copy is writable. Indexing turns an array without axes into a NumPy scalar.
    return array.reshape(shape).copy()[()]
