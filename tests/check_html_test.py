"""`scripts/check_html.py` finds faults that the documentation build does not report."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts/check_html.py"

SOUND = """
<head><meta charset="utf-8"><link rel="stylesheet" href="_static/style.css?v=1"></head>
<h2 id="results">Results<a class="headerlink" href="#results">#</a></h2>
<p>A <em>word</em>, 2 * 3 * 4, <code><span>*args</span></code> and a share
of <code>a | b</code> (p. 3)*, (p. 4)*:<br>see <a href="other.html#part">there</a>,
<a href="https://example.org/none#none">elsewhere</a>, <a
href="a%20b.txt">a file</a>.</p>
<table><tr><th>method<td>+1.0 (0.2)*<td>+2.0 (0.3)*</table>
<dl><dt>Message<dd>What to do.</dl>
<div class="cell_input"><pre>print("INFO:tensorflow:asked for")</pre></div>
<div class="cell_output"><pre>accuracy: 0.9\n| a | *b* |\nno INFO: here</pre></div>
<img src="plot.png" alt="A line that rises"><a href="#">top</a>
"""
OTHER = '<h1 id="part">Other</h1><p>Text.<a href="page.html#results">back</a></p>'


def check(folder, html):
    """Returns the exit status and the faults of a sound site with `html` on a page."""
    files = {"page.html": SOUND + html, "other.html": OTHER}
    files |= dict.fromkeys(["plot.png", "a b.txt", "_static/style.css"], "")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, SCRIPT, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_a_sound_site_passes(tmp_path):
    assert check(tmp_path, "") == (0, [])


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<p>| a | b |\n| --- | --- |</p>", "a table as text: | a | b | | --- | --- |"),
        ("<dd><p>An *active* one.</p></dd>", "a literal asterisk: An *active* one."),
        ("<li>A **strong <code>x</code>**</li>", "a literal asterisk: A **strong …**"),
        ("<p>Message\n: Do this.</p>", "a definition as text: Message : Do this."),
        (
            '<div class="cell_output x"><div><pre>1\n<span>INFO</span>:tensorflow'
            ":Reduce\n2</pre></div></div>",
            "a log line: INFO:tensorflow:Reduce 2",
        ),
        (
            '<div class="cell_output"><pre>W0000 00:00:17 a.cc:1] b</pre></div>',
            "a log line: W0000 00:00:17 a.cc:1] b",
        ),
        (
            '<div class="cell_output"><pre>2026-01-02 03:04:05.6: I a.cc] b</pre>',
            "a log line: 2026-01-02 03:04:05.6: I a.cc] b",
        ),
        (
            f'<div class="highlight-text"><pre>{"x" * 90}\n{"y" * 91}</pre></div>',
            f"a long line: {'y' * 72}",
        ),
        ('<img src="plot.png">', "no alternative text: plot.png"),
        ('<img src="plot.png" alt=" ">', "no alternative text: plot.png"),
        ('<img src="./plot.png" alt="plot.png">', "no alternative text: ./plot.png"),
        ('<a href="none.html">x</a>', "a dead link: none.html"),
        ('<a href="other.html#none">x</a>', "a dead link: other.html#none"),
        ('<a href="#none">x</a>', "a dead link: #none"),
        ('<img src="none.png" alt="A line">', "a dead link: none.png"),
    ],
)
def test_each_fault_is_found(tmp_path, html, fault):
    assert check(tmp_path, html) == (
        1,
        [f"page.html: {fault}", f"1 faults in {tmp_path}"],
    )


def test_a_folder_without_pages_is_a_fault(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path]
    assert subprocess.run(command, capture_output=True).returncode == 1
