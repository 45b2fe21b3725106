"""Imports within the package go down the floors that CONTRIBUTING.md lists."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "keras_modals"


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
            if module == PACKAGE:
                modules = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, *rooms = module.split(".")
            if package == PACKAGE:
                # All of the package, where no room is named.
                yield node.lineno, rooms[0] if rooms else PACKAGE


def faults(path, source, floor):
    """What an import of a file, whose path is from the package, breaks."""
    room = room_of(path)
    for line, other in imported_rooms(source):
        # What is no room is a name of the package itself, which stands above all.
        if other != room and floor.get(other, 0) <= floor[room]:
            yield f"{path}:{line} imports {other}"


def sources():
    package = ROOT / PACKAGE
    return {
        path.relative_to(package): path.read_text()
        for path in sorted(package.rglob("*.py"))
        # The package's own, which offers what is in all rooms.
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
from keras_modals import bottom
from keras_modals.bottom.file import name
import keras_modals.left.file
def function():
    from keras_modals.top import name
    from keras_modals import right, name
    import keras_modals
"""
    assert list(faults(pathlib.Path("left/file.py"), source, floor)) == [
        "left/file.py:6 imports top",
        "left/file.py:7 imports right",
        "left/file.py:7 imports name",
        "left/file.py:8 imports keras_modals",
    ]
