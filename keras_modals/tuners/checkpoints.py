import contextlib
import os
import pathlib

import filelock


class CheckpointFolder:
    """The weights that members start from, one file per trial.

    A file is written whole or not at all. Who saves or deletes holds the lock, so that
    no file is deleted that another process has saved and not yet reported.
    """

    def __init__(self, project_dir):
        self._folder = pathlib.Path(project_dir)
        self._lock = filelock.FileLock(self._folder / "checkpoints.lock")

    def lock(self):
        self._lock.acquire()

    def save(self, trial_id, model):
        path = self._path(trial_id)
        temporary = path.with_name("checkpoint.tmp.weights.h5")
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save_weights(temporary, overwrite=True)
        os.replace(temporary, path)

    def unlock(self):
        self._lock.release(force=True)

    def load(self, trial_id, model):
        model.load_weights(self._path(trial_id))

    def keep_only(self, trial_ids):
        keep = {self._path(trial_id) for trial_id in trial_ids}
        for path in self._folder.glob("trial_*/checkpoint*.weights.h5"):
            if path not in keep:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _path(self, trial_id):
        return self._folder / f"trial_{trial_id}" / "checkpoint.weights.h5"
