"""The settings of a comparison, by which a file recognizes its runs."""

import json
import zlib
from collections.abc import Mapping

import keras
import numpy as np

from keras_modals._src.data.sources import length_of
from keras_modals._src.evaluation.runs import SETTINGS
from keras_modals._src.evaluation.samples import checksum, is_dataset
from keras_modals._src.evaluation.splits import is_split


def settings_of(experiment, data, splits, labels, unlabeled, class_names):
    """Returns a dict of the settings that distinguish the runs of this call."""
    settings = {
        "epochs": experiment.epochs,
        "batch_size": experiment.batch_size,
        "layer": experiment.layer,
        "monitor": experiment.monitor,
        "backend": keras.backend.backend(),
    }
    if labels is not None:
        settings["labels"] = repr(labels)
    if not experiment.kind.output.is_only:
        settings["label_output"] = experiment.kind.output.name
    if not is_split(data):
        settings["splits"] = [float(share) for share in splits]
    if not callable(data):
        settings["data"] = _number_of(data)
    elif class_names is not None:
        settings["class_names"] = class_names
    if unlabeled is not None:
        settings["unlabeled"] = _number_of(unlabeled)
    if experiment.fit_arguments:
        settings["fit"] = _plain(experiment.fit_arguments)
    return settings


def _number_of(data):
    """Returns a checksum of arrays. Datasets are not read: their class and length are
    used instead."""
    parts = data.values() if isinstance(data, Mapping) else [data]
    if any(map(is_dataset, parts)):
        return [
            [type(part).__name__, length_of(part)]
            if is_dataset(part)
            else checksum(part)
            for part in parts
        ]
    return checksum(data)


def _plain(value):
    """Converts an argument of `fit` to JSON; an object becomes its class name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return checksum(value)
    if isinstance(value, np.generic):
        return value.item()
    is_plain = isinstance(value, bool | int | float | str | None)
    return value if is_plain else type(value).__name__


def check_settings(file, dataset, settings):
    """Returns a number for the settings, and refuses a file with other ones."""
    number = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
    runs = file.read()
    runs = runs[(runs["dataset"] == dataset) & (runs["metric"] == SETTINGS)]
    others = runs[runs["value"] != number]
    if 0 < len(others) < len(runs):
        method, seed = others.iloc[0][["method", "seed"]]
        raise ValueError(
            f"One run of '{dataset}' in the file has a damaged value of its settings: "
            "other runs have the settings of this call. Delete the line, and `compare` "
            f"will train the run again. Received: path={file.path}, with the line "
            f"'{dataset},{method},{seed},train,{SETTINGS},...'"
        )
    if len(others):
        raise ValueError(
            f"The file has runs of '{dataset}' with other settings. "
            "Use another `path`, or another name for `dataset`. "
            f"Received: path={file.path}, settings={settings}"
        )
    return number
