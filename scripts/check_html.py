"""Finds faults in the built documentation that Sphinx does not warn about.

    python scripts/check_html.py docs/_build/html

Fails on Markdown that appears as text (the `|` of tables, the `*` of emphasis, the `:`
of definitions), on log lines and long lines in outputs, on images without alternative
text, and on links to pages, files or headings that do not exist on the site.
"""

import pathlib
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urlsplit

BLOCKS = {"p", "li", "dt", "dd", "td", "th", *(f"h{level}" for level in range(1, 7))}
CODE = {"code", "kbd", "pre", "samp", "script", "style", "textarea"}
EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta"}
EMPTY |= {"source", "track", "wbr"}
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src"}

#: Longer output lines are clipped.
MOST_COLUMNS = 90
#: Classes of elements with printed text: cell outputs and text files.
OUTPUTS = {"cell_output", "highlight-text"}
#: Replaces code in text.
STAND_IN = "\ufffc"
FAULTS_OF_TEXT = {
    "a table as text": re.compile(r"\A\s*\|"),
    "a literal asterisk": re.compile(
        r"(?<![\w)*])(\*{1,2})(?![\s*])[^*]+(?<!\s)\1(?!\w)"
    ),
    "a definition as text": re.compile(r"\S\n\s*: "),
}
#: Log lines of Python's logging, abseil and TensorFlow's runtime.
LOG_LINE = re.compile(
    r"^(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):"
    r"|[IWEF]\d{4} \d\d:\d\d"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*: [IWEF] )",
    re.MULTILINE,
)


class Page(HTMLParser):
    """Collects the faults, names and links of one page.

    Attributes:
        faults: List of strings.
        names: Set of strings that a link may have after `#`.
        links: List of addresses, as written.
    """

    def __init__(self, text):
        super().__init__()
        self.faults, self.names, self.links = [], set(), []
        # For each open element: its name, classes and own text.
        self._open = [("", set(), [])]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = {name: value or "" for name, value in attributes}
        names = ("id", "name") if tag == "a" else ("id",)
        self.names |= {attributes[name] for name in names if name in attributes}
        if attributes.get(LINKS.get(tag)):
            self.links.append(attributes[LINKS[tag]])
        if tag == "img":
            self._check_picture(attributes)
        if tag not in EMPTY:
            self._open.append((tag, set(attributes.get("class", "").split()), []))

    def handle_endtag(self, tag):
        if all(tag != name for name, _, _ in self._open):
            return
        name = None
        while name != tag:
            # Unclosed elements end with their parent.
            name, _, pieces = self._open.pop()
            text = "".join(pieces)
            if name in BLOCKS:
                self._check_text(text)
            elif name == "pre":
                self._check_output(text)
                self._add(STAND_IN)
            elif name in CODE:
                self._add(text if self._is_open("pre") else STAND_IN)
            else:
                self._add(text)

    def handle_data(self, data):
        self._add(data)

    def _add(self, text):
        self._open[-1][2].append(text)

    def _is_open(self, *tags):
        return any(name in tags for name, _, _ in self._open)

    def _check_picture(self, attributes):
        # Without alternative text, Sphinx uses the file name.
        source, text = attributes.get("src", ""), attributes.get("alt", "").strip()
        if not text or source.endswith(text):
            self.faults.append(f"no alternative text: {source}")

    def _check_text(self, text):
        if self._is_open("pre"):
            return
        for fault, pattern in FAULTS_OF_TEXT.items():
            if pattern.search(text):
                self.faults.append(f"{fault}: {_start(text)}")

    def _check_output(self, text):
        if not any(OUTPUTS & classes for _, classes, _ in self._open):
            return
        if line := LOG_LINE.search(text):
            self.faults.append(f"a log line: {_start(text[line.start() :])}")
        for line in text.splitlines():
            if len(line) > MOST_COLUMNS:
                self.faults.append(f"a long line: {_start(line)}")


def _start(text):
    return " ".join(text.replace(STAND_IN, "…").split())[:72]


def faults_of(folder):
    """Returns the faults on all pages in a folder, each with its page."""
    folder = pathlib.Path(folder).resolve()
    files = sorted(folder.rglob("*.html"))
    if not files:
        return [f"{folder}: no pages"]
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in files}
    faults = []
    for file, page in pages.items():
        dead = [link for link in page.links if not _leads(link, file, folder, pages)]
        found = [*page.faults, *(f"a dead link: {link}" for link in dead)]
        faults += [f"{file.relative_to(folder)}: {fault}" for fault in found]
    return faults


def _leads(link, file, folder, pages):
    """Whether the target of a link exists. Links to other sites are not checked."""
    address, name = urldefrag(link)
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True
    path = unquote(parts.path)
    if path.startswith("/"):
        target = folder / path.lstrip("/")
    else:
        target = (file.parent / path).resolve() if path else file
    if target.is_dir():
        target = target / "index.html"
    if target not in pages:
        return target.is_file()
    return not name or unquote(name) in pages[target].names


if __name__ == "__main__":
    (folder,) = sys.argv[1:]
    found = faults_of(folder)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(f"{len(found)} faults in {folder}" if found else 0)
