"""Policies and schedules as files: readable JSON with a version, written whole."""

import contextlib
import json
import os
import pathlib
import re

VERSION = 1


def write_json(path, content):
    """Writes a file whole or not at all, however the process ends."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(dumps(content))
    os.replace(temporary, path)


def dumps(content):
    """JSON in which what holds numbers only takes one line."""
    text = json.dumps(content, indent=2)
    flat = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    return flat.sub(lambda match: re.sub(r"\s*\n\s*", " ", match.group()), text) + "\n"


def save(path, kind, config):
    write_json(path, {"format": f"keras_modals.{kind}", "version": VERSION, **config})


def load(path, kind, from_config):
    """Reads what `save` wrote.

    Args:
        path: Path of the file.
        kind: Name of the class.
        from_config: `fn(config)` that makes the value; raises `EntryError` for an entry
            that it refuses.

    Raises:
        ValueError: With file and line, for anything that is not such a value.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not valid JSON: {error.msg}."
        ) from None
    try:
        if not isinstance(config, dict) or "format" not in config:
            raise EntryError((), f"Not a `{kind}` file. Expected a key 'format'.")
        expected = f"keras_modals.{kind}"
        for key, value in (("format", expected), ("version", VERSION)):
            if config.pop(key, None) != value:
                raise EntryError((key,), f"Expected {key} {value!r}.")
        return from_config(config)
    except EntryError as error:
        line = _line_of(text, error.path)
        raise ValueError(f"{path}, line {line}: {error.message}") from None


class EntryError(ValueError):
    """An entry of a file that is refused, by its path of keys and indices."""

    def __init__(self, path, message):
        super().__init__(message)
        self.path, self.message = tuple(path), message


@contextlib.contextmanager
def located(*path):
    """Raises the `ValueError` of a value as that of the entry at `path`."""
    try:
        yield
    except EntryError as error:
        raise EntryError((*path, *error.path), error.message) from None
    except ValueError as error:
        raise EntryError(path, str(error)) from None


def check_keys(config, required, optional=()):
    if not isinstance(config, dict):
        raise EntryError((), f"Expected an object with keys {list(required)}.")
    for key in required:
        if key not in config:
            raise EntryError((), f"The key {key!r} is missing.")
    for key in config:
        if key not in (*required, *optional):
            raise EntryError((key,), f"Unknown key {key!r}.")


def _line_of(text, path):
    """The line of the entry at `path`, or of the closest one around it that exists."""
    lines = dict(_entries(text))
    while path not in lines:
        path = path[:-1]
    return lines[path]


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _entries(text):
    """Pairs of path and line for every entry of a valid JSON text, keys' lines."""
    yield (), 1
    tokens = [
        (match.group(), text.count("\n", 0, match.start()) + 1)
        for match in _TOKEN.finditer(text)
    ]
    path: list = []
    for index, (token, line) in enumerate(tokens):
        follows = tokens[index + 1][0] if index + 1 < len(tokens) else ""
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
            yield tuple(path), line
            continue
        if token in "{[" and len(path) > 1 and isinstance(path[-2], int):
            yield tuple(path[:-1]), line
        elif path and isinstance(path[-1], int) and token not in "{[}]":
            yield tuple(path), line
