import contextlib
import json
import os
import pathlib

#: The weights that were scored.
SCORED = "checkpoint.weights.h5"
#: The weights to resume from, if they differ from the scored ones.
TRAINING = "checkpoint.training.weights.h5"
#: Everything else to resume from.
RECORD = "checkpoint.json"


class Checkpoint:
    """The checkpoint of a member, in a folder.

    Files are written completely or not at all.
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    def save(self, model):
        """Saves the weights that were scored."""
        self._save_weights(SCORED, model)

    def save_training(self, model):
        """Saves the weights to resume from, if they differ from the scored ones."""
        self._save_weights(TRAINING, model)

    def save_record(self, record):
        """Saves a dict, as JSON, with everything else to resume from."""
        with replaced(self._folder / RECORD) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def _save_weights(self, name, model):
        with replaced(self._folder / name) as temporary:
            model.save_weights(temporary, overwrite=True)

    def load(self, model):
        """Loads the weights that were scored."""
        self._load_weights(SCORED, model)

    def load_training(self, model):
        """Loads the weights to resume from, if they differ from the scored ones."""
        self._load_weights(TRAINING, model)

    def load_record(self):
        """Returns the dict that `save_record` saved."""
        path = self._folder / RECORD
        with named(path):
            return json.loads(path.read_text(encoding="utf-8"))

    def _load_weights(self, name, model):
        path = self._folder / name
        with named(path):
            model.load_weights(path)


@contextlib.contextmanager
def replaced(path):
    """Yields a temporary path to write to, which then replaces `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name.replace("checkpoint.", "checkpoint.tmp.", 1))
    yield temporary
    os.replace(temporary, path)


@contextlib.contextmanager
def named(path):
    """Names the file in the error if it cannot be read."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The checkpoint {path} cannot be loaded. Restore it, or start over. "
            f"Received: {error}"
        ) from error
