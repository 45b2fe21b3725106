import pathlib

import keras_tuner

from keras_modals._src.policies.files import write_json
from keras_modals._src.tuners.entry import Entry
from keras_modals._src.tuners.folder import (
    missing,
    read_json,
    read_trials,
    readable,
    trial_name,
)

VERSION = 1


class StoredOracle(keras_tuner.Oracle):
    """An oracle that stores its population in a folder and can resume from it.

    Files are written completely or not at all. If a file is missing, damaged or belongs
    to another search, the error names it.

    Attributes:
        population_size: Positive integer.
    """

    population_size: int

    def entries(self, generation=None):
        """Returns the entries of all trials, or of the trials of one generation."""
        entries = [Entry(trial) for trial in self.trials.values()]
        return [e for e in entries if generation in (None, e.generation)]

    def get_state(self):
        return {**super().get_state(), "version": VERSION}

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_json(path, trial.get_state())

    def check_begun_anew(self):
        """Raises an error if the folder has trials but no file of the search."""
        if read_trials(self._project_dir):
            raise missing(self._project_dir, "tuner.json")

    def reload(self):
        # Read the oracle's file first: all trials that it names have files by then.
        state = read_json(self._project_dir, "oracle.json")
        if state.get("version") != VERSION:
            raise ValueError(
                f"The search in {self._project_dir} was saved with another format "
                f"version. Expected version {VERSION}. Received: "
                f"version={state.get('version')!r}"
            )
        self.trials = read_trials(self._project_dir)
        with readable(self._get_oracle_fname()):
            known = set(state["start_order"]) | set(self.trials)
        for name in map(trial_name, range(len(known))):
            if name not in self.trials:
                raise missing(self._project_dir, f"trial_{name}/trial.json")
        self._check_population()
        with readable(self._get_oracle_fname()):
            self.set_state(state)
        self.ongoing_trials = {}
        self.start_order = list(self.trials)
        # A trial's own file is written before the oracle's, so it takes precedence.
        self.end_order = [e.trial_id for e in self.entries() if e.ended]
        unfinished = {e.trial_id for e in self.entries() if not e.ended}
        for trial_id in unfinished:
            self.trials[trial_id].metrics = type(self.trials[trial_id].metrics)()
        self._retry_queue = sorted(unfinished, reverse=True)

    def _check_population(self):
        """Raises an error if the trials do not fit the population size."""
        last = max((entry.generation for entry in self.entries()), default=0)
        for generation in range(last + 1):
            entries = self.entries(generation)
            members = sorted(entry.member for entry in entries)
            expected = list(range(self.population_size))
            whole = generation < last or not set(members) <= set(expected)
            if len(set(members)) != len(members) or (whole and members != expected):
                raise ValueError(
                    f"The search in {self._project_dir} has another population. Its "
                    f"generation {generation + 1} has the members {members}. Pass the "
                    "original `population_size`, or start over with "
                    f"`overwrite=True`. Received: population_size={len(expected)}"
                )
            before = {entry.trial_id for entry in self.entries(generation - 1)} or {""}
            for entry in entries:
                if entry.parent not in before:
                    path = f"{self._get_trial_dir(entry.trial_id)}/trial.json"
                    with readable(path):
                        raise ValueError(f"no such parent: {entry.parent!r}")
