"""Trains the model of the run that validation scores chose."""

import pathlib
import zlib

import keras

from keras_modals._src import backend
from keras_modals._src.evaluation.compiled import (
    compile_settings,
    compile_with,
    knows_own_objects,
)
from keras_modals._src.models.modals_model import ModalsModel


class BestModel:
    """Returns the trained model of a run, plain, and compiled as `build_fn` does.

    The model is trained again, from the same weights on the same samples. With a path,
    it is stored, and trained only once.

    Args:
        experiment: The `Experiment`.
        path: Path of the file of runs, or `None`.
        number: The number that identifies the settings of the runs.

    Call arguments:
        run, seed: The name and seed of the run.
        known_by: String that identifies the run.
    """

    def __init__(self, experiment, path, number):
        self._experiment, self._number = experiment, number
        self._path = None if path is None else pathlib.Path(path)

    def __call__(self, run, seed, known_by):
        (index,) = (
            index
            for index, task in enumerate(self._experiment.tasks)
            if (task.run, task.seed) == (run, seed)
        )
        trial, model, _ = self._experiment.start(index)
        with backend.many_models(), knows_own_objects(model):
            file = self._file(known_by)
            if file is not None and file.exists():
                return keras.saving.load_model(file)
            # Before training, since some methods compile the model again.
            settings = compile_settings(model)
            settings = keras.saving.deserialize_keras_object(settings)
            best = self._experiment.trained(index, trial, model)
            if isinstance(best, ModalsModel):
                best = best.inference_model()
            compile_with(best, settings)
            if file is not None:
                best.save(file)
        return best

    def _file(self, known_by):
        if self._path is None:
            return None
        number = zlib.crc32(f"{self._number},{known_by}".encode())
        return self._path.with_name(f"{self._path.stem}-{number:08x}.keras")
