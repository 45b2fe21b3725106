"""Checks of the arguments of `compare` before training."""

import inspect
import numbers
from collections.abc import Mapping

import keras
from scipy import sparse

from keras_modals._src.arguments import check_integer, shown, suggestion
from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals._src.evaluation.methods import METHODS, Method
from keras_modals._src.evaluation.samples import is_dataset


def check_build_fn(build_fn):
    if isinstance(build_fn, keras.Model) or not _takes(build_fn):
        raise ValueError(
            "Invalid value received for argument `build_fn`. Expected a function "
            "without arguments that returns a new compiled model each time. Use "
            "`compare(build, ...)`, not `compare(build(), ...)` or `compare(model, "
            f"...)`. Received: build_fn={described(build_fn)}"
        )


def check_data_fn(data):
    if isinstance(data, keras.Model) or not _takes(data, 0):
        raise ValueError(
            "Invalid value received for argument `data`. Expected a function of a "
            'seed that returns a dict of pairs `(x, y)` with the keys "train", '
            f'"validation" and "test". Received: data={described(data)}'
        )


def _takes(fn, *arguments):
    """Whether a value can be called with these arguments, as far as known."""
    if not callable(fn):
        return False
    try:
        inspect.signature(fn).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        # C functions may have no signature.
        return True
    return True


def check_name(argument, value):
    """Refuses names that cannot be a field in a line of the file."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(
            f"Invalid value received for argument `{argument}`. Expected a string of "
            f"printable characters. Received: {argument}={described(value)}"
        )


def check_seeds(seeds):
    if isinstance(seeds, numbers.Integral):
        return range(check_integer("seeds", seeds, 1))
    try:
        found = [check_integer("seeds", seed, 0) for seed in seeds]
    except (TypeError, ValueError):
        found = []
    if not found or len(set(found)) < len(found):
        raise ValueError(
            "Invalid value received for argument `seeds`. Expected a positive integer, "
            "or one or more different seeds, each a non-negative integer. "
            f"Received: seeds={shown(seeds)}"
        )
    return found


def check_fit_arguments(arguments, data):
    for name in ("validation_data", "validation_split"):
        if name in arguments:
            raise ValueError(
                "Validation samples must be part of `data`. "
                f"Received: {name}={described(arguments[name])}"
            )
    weights = arguments.get("sample_weight")
    if weights is None:
        return
    if isinstance(data, Mapping) and not is_dataset(data["train"]):
        samples = len(data["train"][1])
        if len(weights) != samples:
            raise ValueError(
                f"Expected `sample_weight` for the {samples} samples of "
                f"`data['train']`. Received: sample_weight={described(weights)}"
            )
    else:
        raise ValueError(
            "`sample_weight` cannot be used here: each seed splits the samples again, "
            "and a dataset has its own weights. Use `class_weight`, or a method "
            "`fn(trial, model)` that calls "
            "`trial.fit(model, sample_weight=...)` with weights for `trial.train`. "
            f"Received: sample_weight={described(weights)}"
        )


def by_number(class_weight, class_names):
    """Replaces class names in `class_weight` by their numbers.

    Args:
        class_weight: Dict with class names or indices as keys.
        class_names: List of the names of the classes; `None` if labels are numbers.
    """
    indices = {name: index for index, name in enumerate(class_names or ())}
    numbered = {indices.get(key, key): weight for key, weight in class_weight.items()}
    unknown = [key for key in numbered if not isinstance(key, numbers.Integral)]
    if unknown:
        expected = list(indices) or "the indices of classes"
        raise ValueError(
            "Invalid value received for argument `class_weight`. Expected a dict with "
            f"keys among {expected}. Received: the key {unknown[0]!r}"
        )
    return numbered


def resolve(methods):
    """Returns a dict from names to `Method`s, the baseline first."""
    if isinstance(methods, str):
        methods = [methods]
    is_list = isinstance(methods, list | tuple) and all(
        isinstance(name, str) for name in methods
    )
    if not (is_list or isinstance(methods, Mapping)):
        raise ValueError(
            "Invalid value received for argument `methods`. Expected names of methods, "
            "or a dict from names to functions. Pass inputs and targets as one "
            f"argument, `compare(build_fn, (x, y))`. Received: "
            f"methods={described(methods)}"
        )
    if is_list:
        unknown = [name for name in methods if name not in METHODS]
        if unknown:
            hint = suggestion(unknown[0], METHODS)
            if len(unknown) == len(methods) and not hint:
                hint = (
                    "Pass inputs and targets as one argument, "
                    "`compare(build_fn, (x, y))`. "
                )
            raise ValueError(
                f"Unknown method {unknown[0]!r}. {hint}Expected some of "
                f"{list(METHODS)}. Received: methods={described(methods)}"
            )
        methods = {name: METHODS[name] for name in methods}
    for name, method in methods.items():
        _check_method(name, method)
    resolved = {BASELINE: METHODS[BASELINE], **methods}
    return {
        name: method if isinstance(method, Method) else Method(method)
        for name, method in resolved.items()
    }


def _check_method(name, method):
    if not isinstance(name, str) or "(" in name or not name.isprintable():
        raise ValueError(
            "A method's name must be a string without parentheses, of printable "
            f"characters. Received: {described(name)}"
        )
    if not (isinstance(method, Method) or callable(method)):
        raise ValueError(
            "A method is a `Method` or a function `fn(trial, model)` that returns a "
            f"trained model. Received: methods={{{name!r}: {described(method)}}}"
        )
    for setting in method.grid if isinstance(method, Method) else ():
        check_name("grid", run_name(name, setting))


def run_name(name, setting):
    if not setting:
        return name
    return f"{name}({', '.join(f'{key}={value}' for key, value in setting.items())})"


def described(value):
    """Describes a value for an error message, arrays and collections by their size."""
    if sparse.issparse(value):
        return f"a sparse matrix of shape {value.shape}"
    if getattr(value, "shape", ()):
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    if isinstance(value, list | tuple):
        if len(value) > 3:
            return f"a {type(value).__name__} of {len(value)}"
        left, right = "[]" if isinstance(value, list) else "()"
        return f"{left}{', '.join(map(described, value))}{right}"
    return " ".join(shown(value).split())
