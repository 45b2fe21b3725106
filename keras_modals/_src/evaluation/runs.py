"""Stores the runs of a comparison as they finish."""

import codecs
import csv
import io
import os
import pathlib
import time

import pandas as pd

from keras_modals._src.arguments import shown
from keras_modals._src.evaluation.scores import OF_TARGETS

COLUMNS = ("dataset", "method", "seed", "split", "metric", "value")
#: Metric of the test split: the number of test samples per training sample.
TEST_TO_TRAIN = "test_to_train"
#: Metric of the test split: a number that identifies the test samples.
TEST_SAMPLES = "test_samples"
#: Metric of the training split: a number that identifies the settings of the call.
SETTINGS = "settings"

#: Ends a truncated line, which then has too many fields for a row.
_CUT = "," * len(COLUMNS) + "\n"
_HEADER = ",".join(COLUMNS) + "\n"


class RunFile:
    """A CSV file to which runs are appended as they finish.

    Several processes may share it.

    Args:
        path: Path of the file, or `None` to keep the runs in memory.
    """

    def __init__(self, path=None):
        self.path = None if path is None else pathlib.Path(path)
        self._rows = []
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                # Raises an error before it changes a file that has no runs.
                read_runs(self.path)
            _append(self.path)

    def append(self, dataset, method, seed, values):
        """Appends a run.

        Args:
            dataset, method: Strings.
            seed: Integer.
            values: Dict from (split, metric) to numbers.
        """
        rows = [
            (dataset, method, seed, split, metric, _rounded(metric, value))
            for (split, metric), value in values.items()
        ]
        if self.path is None:
            self._rows += rows
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        _append(self.path, text.getvalue())

    def finished(self, dataset, needed=(("train", SETTINGS),)):
        """Returns the complete runs of a data set, as pairs of method and seed.

        Args:
            dataset: String.
            needed: The pairs (split, metric) that a complete run has. Defaults to the
                settings, which `compare` writes last.
        """
        runs = self.read()
        runs = runs[runs["dataset"] == dataset]
        rows = set(zip(*(runs[column] for column in COLUMNS[1:-1]), strict=True))
        pairs = {(method, seed) for method, seed, _, _ in rows}
        return {pair for pair in pairs if all((*pair, *n) in rows for n in needed)}

    def values(self, dataset, split, metric, finished):
        """Returns a dict from seeds to the value of one of their finished runs."""
        runs = self.read()
        runs = runs[(runs["dataset"] == dataset) & (runs["split"] == split)]
        runs = runs[runs["metric"] == metric]
        rows = zip(runs["method"], runs["seed"], runs["value"], strict=True)
        return {seed: value for run, seed, value in rows if (run, seed) in finished}

    def read(self):
        if self.path is None:
            return pd.DataFrame(self._rows, columns=COLUMNS)
        return read_runs(self.path)


def _rounded(metric, value):
    """Rounds to six decimals, except for scores in units of the target, which may be
    small."""
    return float(value) if metric in OF_TARGETS else round(float(value), 6)


def read_runs(path):
    """Reads the runs from a file.

    Truncated lines are left out. If a run was written again, the last values count.

    Raises:
        ValueError: If `RunFile` cannot have written a line. The message has the path
            and the line.
    """
    content = pathlib.Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    # The last part is a truncated line, or is still being written.
    *lines, last = content.split(b"\n")
    if not lines and _HEADER.encode().startswith(last):
        return pd.DataFrame([], columns=COLUMNS)
    if not lines or _fields(lines[0]) != COLUMNS:
        raise ValueError(
            f"Invalid value received for argument `path`. Expected the path of a new "
            f"file, or of one that `compare` wrote, with the first line "
            f"{_HEADER.strip()!r}. Received: path={path}, with the first line "
            f"{shown((lines or [last])[0])}"
        )
    runs = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = _fields(line)
        # Skip truncated lines, and headers in the middle of concatenated files.
        if len(fields) == len(COLUMNS) and fields != COLUMNS:
            *row, value = _row(fields, line, f"{path}, line {number}")
            runs[tuple(row)] = value
    return pd.DataFrame([(*row, runs[row]) for row in runs], columns=COLUMNS)


def _fields(line):
    text = line.decode("utf-8", "replace").rstrip("\r")
    try:
        return tuple(next(csv.reader([text])))
    except csv.Error:
        # Bytes that are too long for a field.
        return ()


def _row(fields, line, where):
    dataset, method, seed, split, metric, value = fields
    try:
        line.decode("utf-8")
        if b"\0" in line:
            raise ValueError
        return dataset, method, int(seed), split, metric, float(value or "nan")
    except ValueError:
        raise ValueError(
            f"{where}: expected UTF-8, with numbers as seed and value. Delete the "
            "line, and `compare` will train its run again, or use another `path`. "
            f"Received: {shown(line)}"
        ) from None


def _append(path, text=""):
    """Appends lines in a single write, so that lines of several processes do not mix.

    Adds the header to a new file, and ends a truncated line.
    """
    is_new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        start = _unwritten(file)
        if start and not is_new:
            time.sleep(0.2)
            # Another process may have been writing the header or a run.
            start = _unwritten(file)
        data = (start + text).encode()
        while data:
            data = data[file.write(data) :]


def _unwritten(file):
    """Returns the text that must be written before a new line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(_HEADER)))
    end = file.read().decode("utf-8", "replace")
    if size == len(end) and _HEADER.startswith(end):
        return _HEADER[size:]
    return "" if end.endswith("\n") else _CUT
