"""Files of results: a row for each run that validation chose.

`compare` writes a row for every number of every setting. These raw runs stay in
`benchmarks/cache`. The repository has one row for each method, data set and seed, with
the chosen setting, what it was run with, and its scores, such as `validation_accuracy`
and `test_log_loss`. `seconds` is the sum over all settings. A method that does not
apply to a data set has a row without scores. Values that older runs did not store are
empty.
"""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

import pandas as pd

from keras_modals._src.evaluation.runs import SETTINGS, TEST_SAMPLES
from keras_modals.evaluation import Comparison

KEYS = ("dataset", "method", "seed")
ABOUT = ("version", "commit", "machine", "backend")
COLUMNS = (*KEYS, "setting", *ABOUT, "seconds")
FOLDER = pathlib.Path(__file__).parent


def about():
    """Returns what current runs are made with: the versions and the machine."""
    import keras

    import keras_modals

    name = keras.backend.backend()
    # Adding results does not change the code.
    changed = _git("status", "--porcelain", "--", "*.py")
    return {
        "version": keras_modals.__version__,
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if changed else ""),
        "machine": f"{platform.machine()} {platform.system()}",
        "backend": f"{name} {importlib.metadata.version(name)}",
    }


def _git(*arguments):
    """Returns the output of git, an empty string outside of a repository."""
    done = subprocess.run(
        ["git", *arguments], cwd=FOLDER.parents[1], capture_output=True, text=True
    )
    return done.stdout.strip()


def chosen(comparison):
    """Returns one row for each chosen run of a `Comparison`."""
    runs = comparison.to_dataframe()
    names = comparison.runs["method"].str.partition("(")[0]
    seconds = comparison.runs[comparison.runs["metric"] == "seconds"]
    seconds = seconds.assign(method=names).groupby(list(KEYS))["value"].sum()
    scores = runs[~runs["metric"].isin(["seconds", SETTINGS])]
    table = scores.assign(column=scores["split"] + "_" + scores["metric"]).pivot(
        index=[*KEYS, "setting"], columns="column", values="value"
    )
    table = table.reset_index("setting").join(seconds.rename("seconds"))
    return table.reset_index()


def add(path, table):
    """Adds rows to a file, and sorts it by its keys."""
    if path.exists():
        table = pd.concat([_read(path), table], ignore_index=True)
    table = table.drop_duplicates([*KEYS], keep="first").sort_values(list(KEYS))
    scores = sorted(set(table.columns) - set(COLUMNS))
    table = table.reindex(columns=[*COLUMNS, *scores])
    for column in scores:
        is_whole = column == f"test_{TEST_SAMPLES}"
        table[column] = table[column].map(("{:.0f}" if is_whole else "{:.5g}").format)
    table["seconds"] = table["seconds"].map("{:.1f}".format)
    own = path.with_suffix(f".{os.getpid()}")
    table.replace("nan", "").to_csv(own, index=False)
    own.replace(path)


def finished(path):
    """Returns the (data set, method, seed) triples in a file."""
    if not path.exists():
        return set()
    return set(_read(path)[list(KEYS)].itertuples(index=False, name=None))


def read(path, metric=None, chosen_by=None):
    """Returns a `Comparison` of the runs in a file of results or of raw runs."""
    with open(path) as file:
        is_raw = not file.readline().startswith(",".join(COLUMNS[:4]))
    if is_raw:
        return Comparison.read(path, metric, chosen_by)
    table = _read(path).drop(columns=list(ABOUT))
    settings = table.pop("setting").fillna("")
    table["method"] += settings.where(settings == "", "(" + settings + ")")
    table = table.rename(columns={"seconds": "train_seconds"})
    runs = table.melt(list(KEYS), var_name="column").dropna(subset="value")
    parts = runs.pop("column").str.partition("_")
    runs = runs.assign(split=parts[0], metric=parts[2]).reset_index(drop=True)
    return Comparison(runs, metric, chosen_by=chosen_by)


def _read(path):
    return pd.read_csv(path, dtype={"setting": str, "commit": str})
