"""Policies and schedules as files: readable, versioned JSON, written atomically."""

import contextlib
import itertools
import json
import os
import pathlib
import re

from keras_modals._src.arguments import shown

VERSION = 1


def write_json(path, content):
    """Writes a file atomically, even if the process is killed."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(dumps(content))
    os.replace(temporary, path)


def dumps(content):
    """Formats JSON, with containers that hold only numbers on one line."""
    text = json.dumps(content, indent=2)
    flat = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    return flat.sub(lambda match: re.sub(r"\s*\n\s*", " ", match.group()), text) + "\n"


def save(path, kind, config):
    write_json(path, {"format": f"keras_modals.{kind}", "version": VERSION, **config})


def load(path, kind, from_config):
    """Reads a file written by `save`.

    Args:
        path: Path of the file.
        kind: Name of the class.
        from_config: `fn(config)` that creates the value. It raises `EntryError` for an
            invalid entry.

    Raises:
        ValueError: If the file is invalid, with the file and line.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not a `{kind}` file. Expected JSON in UTF-8. "
            f"Received: {error.reason} at byte {error.start}"
        ) from None
    try:
        config = _parse(text)
        _check_format(config, kind)
        return from_config(config)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not valid JSON: {error.msg}."
        ) from None
    except EntryError as error:
        line = _line_at(text, _position_of(text, error.path))
        raise ValueError(f"{path}, line {line}: {error.message}") from None
    except RecursionError:
        raise ValueError(
            f"{path}: not a `{kind}` file. Its brackets are nested too deeply."
        ) from None


def _check_format(config, kind):
    if not isinstance(config, dict) or "format" not in config:
        raise EntryError((), f"Not a `{kind}` file. Expected a key 'format'.")
    for key, expected in (("format", f"keras_modals.{kind}"), ("version", VERSION)):
        value = config.pop(key, None)
        # 1.0 and True equal 1.
        if type(value) is not type(expected) or value != expected:
            raise EntryError(
                (key,), f"Expected {key} {expected!r}. Received: {key}={shown(value)}"
            )


class EntryError(ValueError):
    """An invalid entry of a file, located by its path of keys and indices."""

    def __init__(self, path, message):
        super().__init__(message)
        self.path, self.message = tuple(path), message


@contextlib.contextmanager
def located(*path):
    """Turns a `ValueError` into an `EntryError` for the entry at `path`."""
    try:
        yield
    except EntryError as error:
        raise EntryError((*path, *error.path), error.message) from None
    except ValueError as error:
        raise EntryError(path, str(error)) from None


def check_keys(config, required, optional=()):
    if not isinstance(config, dict):
        keys = [*required, *optional]
        raise EntryError((), f"Expected an object with keys among {keys}.")
    for key in required:
        if key not in config:
            raise EntryError((), f"The key {key!r} is missing.")
    for key in config:
        if key not in (*required, *optional):
            raise EntryError((key,), f"Unknown key {shown(key)}.")


def _parse(text):
    """Parses a JSON text and refuses repeated keys."""

    def as_dict(pairs):
        content = dict(pairs)
        if len(content) < len(pairs):
            key, position = _first_repeated_key(text)
            raise json.JSONDecodeError(f"the key {key!r} is repeated", text, position)
        return content

    return json.loads(text, object_pairs_hook=as_dict, parse_int=_as_int)


def _as_int(digits):
    """Parses an integer; infinity if larger than any float, as with JSON's floats."""
    return int(digits) if len(digits) < 300 else float(digits)


def _first_repeated_key(text):
    seen = set()
    for path, position in _entries(text):
        if path in seen:
            return path[-1], position
        seen.add(path)
    raise AssertionError("No key is repeated.")


def _line_at(text, position):
    return text.count("\n", 0, position) + 1


def _position_of(text, path):
    """The position of the entry at `path`, or of its closest existing ancestor."""
    closest = 0
    for found, position in _entries(text):
        if found == path[: len(found)]:
            closest = position
            if len(found) == len(path):
                break
    return closest


_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _entries(text):
    """Yields the path and position of every entry of a JSON text.

    The position of an entry with a key is that of the key."""
    yield (), 0
    path: list = []
    tokens = ((match.group(), match.start()) for match in _TOKEN.finditer(text))
    pairs = itertools.pairwise(itertools.chain(tokens, [("", len(text))]))
    for (token, position), (follows, _) in pairs:
        if token in "{[":
            path.append(0 if token == "[" and follows != "]" else None)
        elif token in "}]":
            path.pop()
        elif token == ",":
            if isinstance(path[-1], int):
                path[-1] += 1
            continue
        elif follows == ":":
            path[-1] = json.loads(token)
            yield tuple(path), position
            continue
        if token in "{[" and len(path) > 1 and isinstance(path[-2], int):
            yield tuple(path[:-1]), position
        elif path and isinstance(path[-1], int) and token not in "{[}]":
            yield tuple(path), position
