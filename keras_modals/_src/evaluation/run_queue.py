"""Which runs of a comparison are left, and what became of the others."""

import copy
import warnings


class RunQueue:
    """The runs of an experiment, in their order.

    Runs that are the same, of two methods that share a setting, are trained once.

    Args:
        experiment: An `Experiment`.
        finished: Set of pairs of run and seed that need no training.
        progress: A `Progress`.

    Attributes:
        skipped: Dict from methods to why they have no run, or not all.
    """

    def __init__(self, experiment, finished, progress):
        self.skipped: dict[str, str] = {}
        self._progress = progress
        self._ran = {run.partition("(")[0] for run, _ in finished}
        self._tasks = experiment.tasks
        self._alike: dict[tuple, list] = {}
        for task in self._tasks:
            if (task.run, task.seed) not in finished:
                key = task.seed, experiment.methods[task.method].train
                key = *key, *sorted((name, repr(v)) for name, v in task.setting.items())
                self._alike.setdefault(key, []).append(task)
        self._keys = {id(tasks[0]): key for key, tasks in self._alike.items()}

    def started(self):
        """Yields the indices of the runs to train, when they begin."""
        self._progress.begin(list(self._alike.values()))
        for index, task in enumerate(self._tasks):
            if id(task) not in self._keys:
                continue
            if self._is_hopeless(task):
                self._progress.skip(task, self.skipped[task.method])
            else:
                self._progress.start(task)
                yield index

    def ended(self, index, outcome):
        """Pairs of the tasks that an outcome is of, and their values; none where there
        was no run."""
        tasks = self._alike[self._keys[id(self._tasks[index])]]
        for task in tasks:
            if outcome.values is not None:
                self._ran.add(task.method)
                self._progress.end(task, outcome.values)
            else:
                self._skip(task, outcome)
        if outcome.values is None:
            return []
        return [(task, copy.copy(outcome.values)) for task in tasks]

    def _is_hopeless(self, task):
        return task.method in self.skipped and task.method not in self._ran

    def _skip(self, task, outcome):
        name = task.method
        where = f" with seed {task.seed}" if name in self._ran else ""
        what = "failed" if outcome.failed else "not applicable"
        self.skipped[name] = f"{what}{where}, {outcome.reason}"
        if outcome.failed:
            warnings.warn(f"Method '{name}' {self.skipped[name]}", stacklevel=4)
        self._progress.skip(task, self.skipped[name])
