"""The files of a search, with errors that name a missing or damaged file."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile

from keras_tuner.engine.trial import Trial, TrialStatus

from keras_modals._src.tuners.entry import Entry

_WHAT_TO_DO = "Restore it, or start over with `overwrite=True`."


#: Prefix of the names of temporary folders, not needed after their process has ended.
_TEMPORARY = "tmp-"


def missing(folder, name):
    """Returns the error for a missing file."""
    return ValueError(f"The search in {folder} lacks {name}. {_WHAT_TO_DO}")


@contextlib.contextmanager
def readable(path):
    """Names the file in the error if it cannot be read."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The file {path} of the search cannot be read. {_WHAT_TO_DO} "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def read_json(folder, name):
    """Returns the object in a JSON file."""
    path = pathlib.Path(folder) / name
    if not path.exists():
        raise missing(folder, name)
    with readable(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
    return content


def trial_name(index):
    """Returns the id that Keras Tuner gives a trial."""
    return f"{index:04d}"


def trial_folder(folder, trial_id):
    """Returns the folder of a trial. Refuses ids that would lead elsewhere."""
    if not re.fullmatch("[0-9]{4,}", trial_id):
        raise ValueError(
            "Invalid trial id. Expected digits, as returned by `create_trial`. "
            f"Received: trial_id={trial_id!r}"
        )
    return pathlib.Path(folder) / f"trial_{trial_id}"


def read_trials(folder):
    """Returns a dict from ids to the trials in a folder, sorted by id."""
    trials = {}
    paths = pathlib.Path(folder).glob("trial_*/trial.json")
    for path in sorted(paths, key=lambda path: (len(path.parent.name), path)):
        name = path.parent.name.removeprefix("trial_")
        if not re.fullmatch("[0-9]{4,}", name):
            raise ValueError(f"The file {path} is not part of the search. Delete it.")
        with readable(path):
            trials[name] = _checked(Trial.load(str(path)), name)
    return trials


def _checked(trial, name):
    entry = Entry(trial)
    if trial.trial_id != name:
        raise ValueError(f"it belongs to trial {trial.trial_id!r}")
    if not (isinstance(entry.member, int) and isinstance(entry.generation, int)):
        raise TypeError(f"member {entry.member!r}, generation {entry.generation!r}")
    if trial.status not in vars(TrialStatus).values():
        raise ValueError(f"status {trial.status!r}")
    if entry.completed and not isinstance(trial.score, float):
        raise TypeError(f"score {trial.score!r}")
    return trial


@contextlib.contextmanager
def temporary_files(folder):
    """Writes temporary files to the folder of the search.

    If this process is killed, the next start of the search deletes them.
    """
    before = tempfile.tempdir
    tempfile.tempdir = tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder)
    try:
        yield
    finally:
        path, tempfile.tempdir = tempfile.tempdir, before
        # Keep files that the build function left there, since it may still read them.
        with contextlib.suppress(OSError):
            os.rmdir(path)


def clear_temporary_files(folder):
    """Deletes the files that killed processes left in the folder of the search."""
    for path in pathlib.Path(folder).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in pathlib.Path(folder).glob("**/*.json.*.tmp"):
        path.unlink(missing_ok=True)
