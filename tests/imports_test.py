"""Imports within the package go down the floors that CONTRIBUTING.md lists."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "keras_modals"
INNER = f"{PACKAGE}._src"


def floors(text):
    """Dict from a room to the number of its floor: 1 is the highest."""
    lists = re.findall(r"(?:^\d+\. `.*\n)+", text, re.MULTILINE)
    assert len(lists) == 1, "CONTRIBUTING.md must have one list of floors."
    return {
        room: number
        for number, line in enumerate(lists[0].splitlines(), 1)
        for room in re.findall(r"`(\w+)`", line)
    }


def room_of(path):
    """`models` for keras_modals/models/task.py, `rows` for keras_modals/rows.py."""
    return path.parts[0].removesuffix(".py")


def imported_rooms(source):
    """Pairs of a line and the room that is imported there, in functions too."""
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
                # All of the package, where no room is named.
                is_room = names[:1] == ["_src"] and len(names) > 1
                yield node.lineno, names[1] if is_room else module


def faults(path, source, floor):
    """What an import of a file, whose path is from the package, breaks."""
    room = room_of(path)
    for line, other in imported_rooms(source):
        # What is no room is a name of the package itself, which stands above all.
        if other != room and floor.get(other, 0) <= floor[room]:
            yield f"{path}:{line} imports {other}"


def sources():
    package = ROOT / PACKAGE / "_src"
    return {
        path.relative_to(package): path.read_text()
        for path in sorted(package.rglob("*.py"))
        # It is empty.
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
