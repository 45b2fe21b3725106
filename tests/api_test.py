"""docs/api.md has all that is public, and `dir` shows what is loaded on first use."""

import functools
import importlib
import inspect
import pathlib
import pkgutil
import re
import types

import pytest

import keras_modals

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "api.md"

#: The package, and what is one level below.
PACKAGES = ["keras_modals"] + [
    module.name
    for module in pkgutil.iter_modules(keras_modals.__path__, "keras_modals.")
    if not module.name.endswith("._src")
]

#: Methods and properties that are called by Keras, or only within the package.
_OF_LABELS = {
    "check",
    "check_task",
    "groups",
    "cross_entropy",
    "is_left_out",
    "lacks_label",
    "mixable",
    "num_groups",
    "of_task",
    "says",
    "squared_error",
    "what_is_wrong",
}
NOT_FOR_USERS = {
    "Comparison": {"scale", "unit"},
    "GaussianDistance": {"build"},
    "PolicyLayer": {
        "has_form_of",
        "keeps_labels",
        "mixes_classes",
        "mixing_values",
        "num_mixing",
        "partners",
        "policy",
    },
    "LatentAugmentation": {
        "apply",
        "draw",
        "members",
        "needs_groups",
        "read",
        "remember",
        "rows_of",
        "trains_encoder",
    },
    "ModalsModel": {
        "clip_gradients",
        "has_unused",
        "label_losses",
        "mixes_classes",
        "outputs_with",
        "reads_unlabeled",
        "remembering",
        "read_labels",
        "sample_losses",
        "step_scope",
        "training_terms",
        "update_logs",
    },
    "Labels": {
        *_OF_LABELS,
        "labeled",
        "compared",
        "errors",
        "check_output",
        "check_stream",
        "from_config",
        "get_config",
        "groups_of_array",
        "read",
    },
    "Classes": {
        *_OF_LABELS,
        "errors",
        "check_output",
        "check_stream",
        "like",
        "of_arrays",
        "probabilities",
        "shares",
    },
    "MultiLabels": {*_OF_LABELS, "errors", "check_output", "compared"},
    "Positions": {
        *_OF_LABELS,
        "labeled",
        "check_output",
        "check_stream",
        "from_config",
        "get_config",
        "are_several",
        "mixes_targets",
        "num_classes",
        "positions",
        "read",
    },
    "Values": {*_OF_LABELS - {"cross_entropy", "squared_error"}, "errors", "means"},
    "Policy": {"from_config", "get_config"},
    "Prior": {"get_config"},
    "Triplets": {"get_config", "prepare"},
    "PolicySchedule": {"from_config", "get_config"},
    "PopulationBasedOracle": {
        "best_at_the_end",
        "is_finished",
        "lineage",
        "smoothed",
    },
    "PopulationBasedTuner": {"checkpoints", "models"},
    "StoredOracle": {"check_begun_anew", "entries"},
    "SharedEncoderSearch": {"clip_gradients", "end_epoch"},
}

DIRECTIVE = re.compile(
    r"^\.\. (?P<kind>\w+):: (?P<name>[\w.]+)\n(?P<options>(?:[ ]+.*\n)*)", re.MULTILINE
)
MEMBERS = re.compile(r":members:(?P<names>[^:]*)")
#: All members that have a docstring.
ALL = "all"


def shown(text):
    """Pairs of what a directive shows, and its members: a set of names, or `ALL`."""
    found, current = [], ""
    for directive in DIRECTIVE.finditer(text):
        kind, name = directive["kind"], directive["name"]
        if kind == "currentmodule":
            current = name
            continue
        if not name.startswith("keras_modals"):
            name = f"{current}.{name}"
        value = resolve(name)
        members = MEMBERS.search(directive["options"])
        names = set(re.findall(r"\w+", members["names"])) if members else set()
        names = ALL if members and not names else names
        found.append((name, value, names))
        if kind == "automodule" and names == ALL:
            found += [(f"{name}.{n}", getattr(value, n), set()) for n in value.__all__]
    return found


def resolve(name):
    value = keras_modals
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def own_members(cls):
    """Pairs of a class and a name, of the public methods and properties of `cls` that
    are ours, with who defines them. What overrides Keras's is Keras's."""
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


def missing(text):
    """Names of what the page should show and does not."""
    found = shown(text)
    names = []
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, types.ModuleType) or name.startswith("__"):
                continue
            if not any(n.endswith(f".{name}") and v is value for n, v, _ in found):
                names.append(f"{package.__name__}.{name}")
            if inspect.isclass(value):
                names += missing_members(value, found)
    return sorted(set(names))


def missing_members(cls, found):
    for base, name in own_members(cls):
        definitions = [
            vars(each).get(name) for each in base.__mro__ if name in vars(each)
        ]
        is_shown = any(
            isinstance(value, type)
            and issubclass(cls, value)
            and vars(value).get(name) in definitions
            and (members == ALL or name in members)
            and vars(value)[name].__doc__
            for _, value, members in found
        )
        if not is_shown and name not in NOT_FOR_USERS.get(base.__name__, ()):
            yield f"{base.__module__}.{base.__name__}.{name}"


def test_the_page_shows_all_that_is_public():
    assert missing(PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (".. autofunction:: augment", "keras_modals.augment"),
        (".. autoclass:: Policy\n   :members:", ".Policy.constant"),
        (".. automodule:: keras_modals.plots\n   :members:", ".plots.plot_classes"),
    ],
)
def test_what_the_page_leaves_out_is_found(line, name):
    text = PAGE.read_text()
    assert line in text
    assert any(each.endswith(name) for each in missing(text.replace(line, "")))


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
