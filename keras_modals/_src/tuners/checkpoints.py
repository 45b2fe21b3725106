import contextlib
import pathlib
import shutil

from keras_modals._src.members.checkpoint import (
    RECORD,
    SCORED,
    TRAINING,
    Checkpoint,
    named,
    replaced,
)
from keras_modals._src.tuners.folder import trial_folder


class CheckpointFolder:
    """The checkpoints of members, in one folder per trial."""

    def __init__(self, project_dir):
        self._folder = pathlib.Path(project_dir)

    def of(self, trial_id):
        """Returns the `Checkpoint` of a trial."""
        return Checkpoint(trial_folder(self._folder, trial_id))

    def copy(self, source, target):
        """Copies the checkpoint of one trial to another."""
        for name in (SCORED, TRAINING, RECORD):
            path = self._path(source, name)
            if path.exists():
                with replaced(self._path(target, name)) as temporary, named(path):
                    shutil.copyfile(path, temporary)

    def keep_only(self, trial_ids):
        keep = {f"trial_{trial_id}" for trial_id in trial_ids}
        for path in self._folder.glob("trial_*/checkpoint.*"):
            if path.parent.name not in keep:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _path(self, trial_id, name=SCORED):
        return trial_folder(self._folder, trial_id) / name
