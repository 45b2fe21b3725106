import contextlib
import os
import pathlib

import filelock


class CheckpointFolder:
    """The weights that members start from, one file per trial.

    A file is written whole or not at all. From `save` to `unlock` no other process
    saves, so that what is not needed any more can be deleted in between.
    """

    def __init__(self, project_dir):
        self._folder = pathlib.Path(project_dir)
        self._lock = filelock.FileLock(self._folder / "checkpoints.lock")

    def save(self, trial_id, model):
        self._lock.acquire()
        path = self._path(trial_id)
        temporary = path.with_name("checkpoint.tmp.weights.h5")
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save_weights(temporary, overwrite=True)
        os.replace(temporary, path)

    def unlock(self):
        self._lock.release()

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
