"""Imports within the package go down the levels that CONTRIBUTING.md lists."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "keras_modals"
INNER = f"{PACKAGE}._src"


def floors(text):
    """Returns a dict from room (folder or file) to floor (level). 1 is the highest."""
    lists = re.findall(r"(?:^\d+\. `.*\n)+", text, re.MULTILINE)
    assert len(lists) == 1, "CONTRIBUTING.md must have one list of floors."
    return {
        room: number
        for number, line in enumerate(lists[0].splitlines(), 1)
        for room in re.findall(r"`(\w+)`", line)
    }


def room_of(path):
    """Returns the room: `models` for models/task.py, and `rows` for rows.py."""
    return path.parts[0].removesuffix(".py")


def imported_rooms(source):
    """Yields pairs of a line and the room that it imports, even inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "An import names the package."
            module = node.module
            modules = [module]
            if module in (PACKAGE, INNER):
                modules = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, *names = module.split(".")
            if package == PACKAGE:
                # Without a room, this is the whole package.
                is_room = names[:1] == ["_src"] and len(names) > 1
                yield node.lineno, names[1] if is_room else module


def faults(path, source, floor):
    """Yields the faulty imports of a file. `path` is relative to the package."""
    room = room_of(path)
    for line, other in imported_rooms(source):
        # Anything else is a name of the package itself, which is above all floors.
        if other != room and floor.get(other, 0) <= floor[room]:
            yield f"{path}:{line} imports {other}"


def sources():
    package = ROOT / PACKAGE / "_src"
    return {
        path.relative_to(package): path.read_text()
        for path in sorted(package.rglob("*.py"))
        # This file is empty.
        if path != package / "__init__.py"
    }


def test_every_room_has_one_floor():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    floor = floors(text)
    assert set(floor) == {room_of(path) for path in sources()}
    rooms = re.findall(r"`(\w+)(?:/|\.py)`", text.split("## Where things are")[1])
    assert set(rooms) <= set(floor)


def test_imports_go_down():
    floor = floors((ROOT / "CONTRIBUTING.md").read_text())
    found = [
        fault
        for path, source in sources().items()
        for fault in faults(path, source, floor)
    ]
    assert found == []


def test_an_import_that_goes_up_is_found():
    floor = {"top": 1, "left": 2, "right": 2, "bottom": 3}
    source = """
from keras_modals._src import bottom
from keras_modals._src.bottom.file import name
import keras_modals._src.left.file
def function():
    from keras_modals._src.top import name
    from keras_modals._src import right, name
    import keras_modals
"""
    assert list(faults(pathlib.Path("left/file.py"), source, floor)) == [
        "left/file.py:6 imports top",
        "left/file.py:7 imports right",
        "left/file.py:7 imports name",
        "left/file.py:8 imports keras_modals",
    ]
