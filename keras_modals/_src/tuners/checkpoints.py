import contextlib
import pathlib
import shutil

import filelock

from keras_modals._src.members.checkpoint import (
    RECORD,
    SCORED,
    TRAINING,
    Checkpoint,
    named,
    replaced,
)


class CheckpointFolder:
    """The checkpoints of members, in one folder per trial.

    Who saves or deletes holds the lock, so that no file is deleted that another process
    has saved and not yet reported.
    """

    def __init__(self, project_dir):
        self._folder = pathlib.Path(project_dir)
        self._lock = filelock.FileLock(self._folder / "checkpoints.lock")

    def lock(self):
        self._lock.acquire()

    def unlock(self):
        self._lock.release(force=True)

    def of(self, trial_id):
        """The `Checkpoint` of a trial."""
        return Checkpoint(self._path(trial_id).parent)

    def copy(self, source, target):
        """Makes a trial's checkpoint that of another one, too."""
        for name in (SCORED, TRAINING, RECORD):
            path = self._path(source, name)
            if path.exists():
                with replaced(self._path(target, name)) as temporary, named(path):
                    shutil.copyfile(path, temporary)

    def keep_only(self, trial_ids):
        keep = {self._path(trial_id).parent for trial_id in trial_ids}
        for path in self._folder.glob("trial_*/checkpoint.*"):
            if path.parent not in keep or ".tmp." in path.name:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _path(self, trial_id, name=SCORED):
        return self._folder / f"trial_{trial_id}" / name
