"""Configures Sphinx. `scripts/docs` builds the pages and runs their code."""

import importlib
import inspect
import os
import re
import sys
import textwrap

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.dirname(_HERE)]

import gallery  # noqa: E402
from docutils import nodes  # noqa: E402
from members import is_left_out  # noqa: E402

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The kernels run this first.
os.environ["PYTHONSTARTUP"] = os.path.join(_HERE, "startup.py")

project = "keras_modals"
author = "keras_modals developers"
copyright = f"2026, {author}"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
html_theme = "furo"
release = version = importlib.import_module("keras_modals").__version__
html_title = f"keras_modals {release}"
html_theme_options = {
    "source_repository": gallery.PROJECT["urls"]["Repository"],
    "source_branch": "main",
    "source_directory": "docs/",
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
exclude_patterns = ["_build", "gallery/*.ipynb"]
templates_path = ["_templates"]

# A page whose code fails is an error.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# Remove progress bars and TensorFlow's messages about the processor.
nb_output_stderr = "remove"
# The default, CommonMark, has no tables.
nb_render_markdown_format = "gfm"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(pandas|matplotlib|numpy|collections)\..*")]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
napoleon_use_ivar = True
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    ("Reference", "references"),
    "Input shape",
    "Output shape",
]
copybutton_prompt_text = ">>> |... "
copybutton_prompt_is_regexp = True


_MODULES = [
    "keras_modals",
    "keras_modals.operations",
    "keras_modals.population",
    "keras_modals.evaluation",
    "keras_modals.tuners",
    "keras_modals.ray",
    "keras_modals.plots",
]


def _public_names():
    """Returns a dict from names of classes and functions in docstrings to full names.
    Includes short names that are unique."""
    found = {}
    for module in map(importlib.import_module, _MODULES):
        for short in module.__all__:
            if not inspect.ismodule(value := getattr(module, short)):
                found.setdefault(id(value), []).append(f"{module.__name__}.{short}")
    names = {}
    # Pages are named after the object's own module, which comes last.
    for *others, whole in found.values():
        short = whole.rpartition(".")[2]
        names |= dict.fromkeys([whole, *others], whole)
        names[short] = "" if short in names else whole
    # The words left out have other meanings in Keras and Python.
    return {
        k: v for k, v in names.items() if v and k not in ("compare", "get", "names")
    }


_NAMES = _public_names()
#: Names to the pages that explain them.
_GUIDES = {
    "keras_modals.augment": ("get_started", "where_to_insert", "tuning"),
    "keras_modals.LatentAugmentation": ("how_it_works", "where_to_insert"),
    "keras_modals.ModalsModel": ("how_it_works", "tuning"),
    "keras_modals.Policy": ("tuning", "how_it_works"),
    "keras_modals.PolicySchedule": ("policy_search",),
    "keras_modals.SharedEncoderSearch": ("policy_search",),
    "keras_modals.Consistency": ("unlabeled",),
    "keras_modals.join_unlabeled": ("unlabeled",),
    "keras_modals.MultiLabels": ("targets",),
    "keras_modals.Positions": ("targets",),
    "keras_modals.Values": ("targets",),
    "keras_modals.evaluation.compare": ("compare",),
    "keras_modals.evaluation.LatentMonitor": ("troubleshooting",),
    "keras_modals.tuners.PopulationBasedTuner": ("policy_search", "distributed"),
    "keras_modals.ray.trainable": ("ray",),
}
#: Reference of Keras's classes and functions, since keras.io has no addresses by name.
_KERAS = "https://www.tensorflow.org/api_docs/python/tf/"
_FENCES = re.DOTALL | re.MULTILINE
# Code and emphasis in reStructuredText, or the stars of `**kwargs`.
_STARS = r"(``.+?``|(?<!\w)(\*{1,2})(?=\S)[^*]+(?<=\S)\2(?!\w))|(\*+)(?=[a-z_])"


def _from_markdown(app, what, name, obj, options, lines):
    """Converts docstrings from Markdown, as in Keras, to reStructuredText."""
    # Pieces of prose and code alternate.
    pieces = re.split(r"^```python\n(.*?)^```$", "\n".join(lines), flags=_FENCES)
    pieces[::2] = [_prose(piece) for piece in pieces[::2]]
    pieces[1::2] = [
        f".. code-block:: python\n\n{textwrap.indent(piece, '    ')}"
        for piece in pieces[1::2]
    ]
    lines[:] = "".join(pieces).split("\n")


def _add_guides(app, what, name, obj, options, lines):
    """Adds links to the pages that explain a class or function."""
    if what in ("class", "function") and name in _GUIDES:
        links = ", ".join(f":doc:`/{page}`" for page in _GUIDES[name])
        lines += ["", f".. seealso:: {links}", ""]


def _drop_edit_link(app, pagename, templatename, context, doctree):
    """Drops the edit links of pages that the build writes."""
    if pagename.startswith(("gallery/", "reference/")):
        context["page_source_suffix"] = ""


def _prose(text):
    text = re.sub(r"(?<!`)`([^`]+)`(\w?)", _literal, text)
    text = re.sub(_STARS, lambda stars: stars[1] or r"\*" * len(stars[3]), text)
    return re.sub(r"\[([^\]\[]+)\]\((http[^)]+)\)", r"`\1 <\2>`__", text)


def _literal(match):
    text, letter = match.groups()
    if text in _NAMES and not letter:
        return f":py:obj:`{text} <{_NAMES[text]}>`"
    if re.fullmatch(r"keras(\.\w+)+", text) and not letter:
        return f":py:obj:`{text}`"
    # Markup must not touch a letter.
    return f"``{text}``" + (rf"\ {letter}" if letter else "")


def _to_keras(app, env, node, content):
    """Links to the reference of Keras. A method is on the page of its class."""
    target = node.get("reftarget", "")
    if not target.startswith("keras."):
        return None
    page, method = re.fullmatch(r"(.*?[A-Z]\w*|.*)(?:\.(\w+))?", target).groups()
    address = _KERAS + page.replace(".", "/") + (f"#{method}" if method else "")
    return nodes.reference("", "", content, internal=False, refuri=address)


def _signature(app, what, name, obj, options, signature, annotation):
    """Returns the signature of `__init__`, since `__new__` of Keras layers takes
    anything."""
    if what != "class":
        return signature, annotation
    _, *parameters = inspect.signature(obj.__init__).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    text = str(inspect.Signature(plain))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text), annotation


def _skip(app, what, name, obj, skip, options):
    return True if is_left_out(name, obj) else None


def setup(app):
    gallery.write()
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _to_keras)
    app.connect("html-page-context", _drop_edit_link)
    # Run after napoleon, and before it.
    app.connect("autodoc-process-docstring", _add_guides, priority=900)
    app.connect("autodoc-process-docstring", _from_markdown, priority=100)
    app.connect("autodoc-process-signature", _signature)
