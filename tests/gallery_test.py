"""Each example has a page and a notebook."""

import ast
import importlib.util
import pathlib

import nbformat
import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
_SPEC = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
gallery = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gallery)


def test_there_are_no_notebooks_of_examples_that_are_gone():
    assert {path.stem for path in gallery.PAGES.glob("*.ipynb")} == set(gallery.names())


@pytest.mark.parametrize("name", gallery.names())
def test_a_notebook_has_the_code_of_its_example(name):
    notebook = gallery.notebook(name)
    nbformat.validate(notebook)
    stored = nbformat.read(gallery.PAGES / f"{name}.ipynb", nbformat.NO_CONVERT)
    assert stored == notebook, "Run: python docs/gallery.py"
    text, install, *cells = [cell["source"] for cell in notebook["cells"]]
    assert text.startswith("# ")
    assert install.startswith("%pip install")
    modules = [cell for cell in cells if cell.startswith("%%writefile")]
    for cell in modules:
        first, _, code = cell.partition("\n")
        assert code == (gallery.EXAMPLES / first.split()[1]).read_text()
    *cells, last = cells[len(modules) :]
    assert last.splitlines()[-1] == "main()"
    *body, _ = ast.parse((gallery.EXAMPLES / f"{name}.py").read_text()).body[1:]
    assert ast.dump(ast.parse("\n".join(cells))) == ast.dump(ast.Module(body, []))


def test_a_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in gallery.notebook("tabular")["cells"][2:]:
        call = "main(methods=['dropout'], seeds=1, epochs=1)"
        exec(cell["source"].replace("main()", call), names)
    assert "  none " in capsys.readouterr().out
    assert (tmp_path / "tabular.png").exists()


def test_a_page_has_text_code_and_output(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "OUTPUTS", tmp_path)
    (tmp_path / "tabular.txt").write_text("a table")
    text = gallery.page("tabular")
    lines = text.splitlines()
    assert lines[0] == "# A table"
    assert lines[2].startswith("80 biopsies")
    assert "<tabular.ipynb>" in text
    assert "../outputs/tabular.txt" in text
    assert "tabular.png\n:alt" not in text
    first = next(line for line in lines if line.startswith(":lines:"))
    source = (gallery.EXAMPLES / "tabular.py").read_text().splitlines()
    assert source[int(first.split()[1].rstrip("-")) - 1] == "import keras"


def test_stored_outputs_have_no_progress():
    printed = """seed 0, plain

\x1b[1m3/3\x1b[0m ━━━━ - loss: 0.3
1/3 \x08\x08
3 trainings of 60 epochs: 3 methods, 1 seed, about 1 min
3/3, 0 s left
generation 1/12, member 8/8, best val_loss 1.3
Each training has 6 steps, and mixing warms up for 100: use at least 100 epochs


seed 0, searched: 94.0%
  none   93.2 ± 1.5
"""
    expected = "seed 0, searched: 94.0%\n  none   93.2 ± 1.5\n"
    assert gallery.without_progress(printed) == expected
