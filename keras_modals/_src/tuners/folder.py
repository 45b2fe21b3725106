"""The files of a search: what is missing or damaged is named."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile

from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals._src.tuners.entry import Entry

_WHAT_TO_DO = "Restore it, or begin anew with `overwrite=True`."


#: How the names of folders begin that nobody needs once their process has ended.
_TEMPORARY = "tmp-"


def missing(folder, name):
    """The error of a file that is missing."""
    return ValueError(f"The search in {folder} lacks {name}. {_WHAT_TO_DO}")


@contextlib.contextmanager
def readable(path):
    """Names the file in the error of one that cannot be read."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The file {path} of the search cannot be read. {_WHAT_TO_DO} "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def read_json(folder, name):
    """The object in a JSON file."""
    path = pathlib.Path(folder) / name
    if not path.exists():
        raise missing(folder, name)
    with readable(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
    return content


def trial_name(index):
    """The id that Keras Tuner gives a trial."""
    return f"{index:04d}"


def trial_folder(folder, trial_id):
    """The folder of a trial. Refuses ids with which it would be elsewhere."""
    if not re.fullmatch("[0-9]{4,}", trial_id):
        raise ValueError(
            "Invalid id of a trial. Expected digits, as `create_trial` returns. "
            f"Received: trial_id={trial_id!r}"
        )
    return pathlib.Path(folder) / f"trial_{trial_id}"


def read_trials(folder):
    """The trials in the folder, by their ids, in the order of these."""
    trials = {}
    paths = pathlib.Path(folder).glob("trial_*/trial.json")
    for path in sorted(paths, key=lambda path: (len(path.parent.name), path)):
        name = path.parent.name.removeprefix("trial_")
        if not re.fullmatch("[0-9]{4,}", name):
            raise ValueError(f"The file {path} is no trial's of the search. Delete it.")
        with readable(path):
            trials[name] = _checked(Trial.load(str(path)), name)
    return trials


def _checked(trial, name):
    entry = Entry(trial)
    if trial.trial_id != name:
        raise ValueError(f"it is of trial {trial.trial_id!r}")
    if not (isinstance(entry.member, int) and isinstance(entry.generation, int)):
        raise TypeError(f"member {entry.member!r}, generation {entry.generation!r}")
    if trial.status not in vars(TrialStatus).values():
        raise ValueError(f"status {trial.status!r}")
    if entry.completed and not isinstance(trial.score, float):
        raise TypeError(f"score {trial.score!r}")
    return trial


@contextlib.contextmanager
def temporary_files(folder):
    """Has temporary files written to the search's folder, which the next start of the
    search clears if this process is killed."""
    before = tempfile.tempdir
    tempfile.tempdir = tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder)
    try:
        yield
    finally:
        path, tempfile.tempdir = tempfile.tempdir, before
        # What a build function has left there, it may still read.
        with contextlib.suppress(OSError):
            os.rmdir(path)


def clear_temporary_files(folder):
    """Deletes what killed processes have left in the search's folder."""
    for path in pathlib.Path(folder).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in pathlib.Path(folder).glob("**/*.json.*.tmp"):
        path.unlink(missing_ok=True)
