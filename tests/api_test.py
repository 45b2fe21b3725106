"""`docs/api.md` lists the whole public API, and `dir` lists lazily loaded names."""

import functools
import importlib
import inspect
import pathlib
import pkgutil
import re
import sys
import types

import pytest

import keras_modals

DOCS = pathlib.Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

from members import NOT_FOR_USERS, is_left_out  # noqa: E402

PAGE = DOCS / "api.md"

#: The package and its direct submodules.
PACKAGES = ["keras_modals"] + [
    module.name
    for module in pkgutil.iter_modules(keras_modals.__path__, "keras_modals.")
    if not module.name.endswith("._src")
]

#: Matches a module, or the name of an entry below it.
ENTRY = re.compile(
    r"^(?:\.\. currentmodule:: |\.\. data:: |   )([\w.]+)$", re.MULTILINE
)


def shown(text):
    """Returns the names of classes, functions and values with an entry in `text`."""
    found, current = set(), ""
    for line in ENTRY.finditer(text):
        if "currentmodule" in line[0]:
            current = line[1]
        else:
            found.add(f"{current}.{line[1]}")
    return found


def own_members(cls):
    """Yields pairs of the defining class and the name of each public method or property
    of `cls` that the package adds. Skips overrides of Keras members."""
    kinds = (types.FunctionType, property, functools.cached_property)
    kinds += (classmethod, staticmethod)
    others = [base for base in cls.__mro__ if not is_ours(base)]
    for base in filter(is_ours, cls.__mro__):
        for name, member in vars(base).items():
            is_public = isinstance(member, kinds) and not name.startswith("_")
            if is_public and not any(hasattr(other, name) for other in others):
                yield base, name


def is_ours(cls):
    return cls.__module__.split(".")[0] == "keras_modals"


def public():
    """Yields pairs of a public name and its value, for all packages."""
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            if not (isinstance(value, types.ModuleType) or name.startswith("__")):
                yield f"{package.__name__}.{name}", value


def missing(text):
    """Returns the public names without an entry in `text`. A value that two packages
    export needs only one entry."""
    values = [resolve(name) for name in shown(text)]
    return [
        name for name, value in public() if not any(value is each for each in values)
    ]


def resolve(name):
    value = keras_modals
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def test_the_page_shows_all_that_is_public():
    assert missing(PAGE.read_text()) == []


@pytest.mark.parametrize("name", ["augment", "Policy", "plot_classes", "METHODS"])
def test_what_the_page_leaves_out_is_found(name):
    lines = PAGE.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split()[-1:] != [name]]
    assert len(kept) == len(lines) - 1
    (found,) = missing("".join(kept))
    assert found.endswith(f".{name}")


def test_what_a_page_shows_of_a_class_has_a_docstring():
    for _, cls in public():
        if inspect.isclass(cls):
            for base, name in own_members(cls):
                members = [
                    vars(each)[name] for each in base.__mro__ if name in vars(each)
                ]
                assert any(
                    member.__doc__ or is_left_out(name, member) for member in members
                ), f"{base.__name__}.{name}"


def test_what_is_not_for_users_exists():
    classes = {
        each.__name__: each
        for package in map(importlib.import_module, PACKAGES)
        for value in vars(package).values()
        if isinstance(value, type)
        for each in value.__mro__
    }
    for name, members in NOT_FOR_USERS.items():
        assert members <= vars(classes[name]).keys(), name


def test_dir_shows_what_is_loaded_on_first_use():
    assert {"compare", "evaluation", "plots", "ray", "tuners"} <= set(dir(keras_modals))
    assert set(keras_modals.__all__) <= set(dir(keras_modals))
    # `from keras_modals import *` works without extras.
    assert not set(keras_modals._EXTRAS) & set(keras_modals.__all__)
    for name in dir(keras_modals):
        assert getattr(keras_modals, name) is not None
