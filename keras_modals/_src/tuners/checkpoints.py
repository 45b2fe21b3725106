import contextlib
import json
import os
import pathlib
import shutil

from keras_modals._src.tuners.folder import trial_folder

#: The weights that were scored.
_SCORED = "checkpoint.weights.h5"
#: Those that training goes on from, where these are other weights.
_TRAINING = "checkpoint.training.weights.h5"
#: What else training goes on from.
_RECORD = "checkpoint.json"


class CheckpointFolder:
    """What members are and start from, in one folder per trial.

    A file is written whole or not at all.
    """

    def __init__(self, project_dir):
        self._folder = pathlib.Path(project_dir)

    def save(self, trial_id, model):
        """Saves the weights of a member, those that were scored."""
        self._save_weights(self._path(trial_id), model)

    def save_training(self, trial_id, model):
        """Saves weights that training goes on from, where they are others."""
        self._save_weights(self._path(trial_id, _TRAINING), model)

    def save_record(self, trial_id, record):
        """Saves what else training goes on from, a dict that JSON can hold."""
        path = self._path(trial_id, _RECORD)
        with _replaced(path) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def _save_weights(self, path, model):
        with _replaced(path) as temporary:
            model.save_weights(temporary, overwrite=True)

    def load(self, trial_id, model):
        """Loads the weights that were scored."""
        self._load_weights(self._path(trial_id), model)

    def load_training(self, trial_id, model):
        """Loads the weights that training goes on from where they are others."""
        self._load_weights(self._path(trial_id, _TRAINING), model)

    def load_record(self, trial_id):
        """The dict that was saved."""
        path = self._path(trial_id, _RECORD)
        with _named(path):
            return json.loads(path.read_text(encoding="utf-8"))

    def _load_weights(self, path, model):
        with _named(path):
            model.load_weights(path)

    def copy(self, source, target):
        """Makes a trial's checkpoint that of another one, too."""
        for name in (_SCORED, _TRAINING, _RECORD):
            path = self._path(source, name)
            if path.exists():
                with _replaced(self._path(target, name)) as temporary, _named(path):
                    shutil.copyfile(path, temporary)

    def keep_only(self, trial_ids):
        keep = {f"trial_{trial_id}" for trial_id in trial_ids}
        for path in self._folder.glob("trial_*/checkpoint.*"):
            if path.parent.name not in keep:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _path(self, trial_id, name=_SCORED):
        return trial_folder(self._folder, trial_id) / name


@contextlib.contextmanager
def _replaced(path):
    """A path to write to, which then takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name.replace("checkpoint.", "checkpoint.tmp.", 1))
    yield temporary
    os.replace(temporary, path)


@contextlib.contextmanager
def _named(path):
    """Names the file in the error of one that cannot be read."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The checkpoint {path} cannot be loaded. Restore it, or begin anew with "
            f"`overwrite=True`. Received: {error}"
        ) from error
