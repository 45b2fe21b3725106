"""Tracks which runs of a comparison are left, and the outcomes of the others."""

import warnings

from keras_modals._src.evaluation.runs import TEST_SAMPLES


class RunQueue:
    """The runs of an experiment, in order.

    If two methods share a setting, the run is trained once.

    Args:
        experiment: An `Experiment`.
        finished: Set of pairs of run and seed that need no training.
        tests: Dict from seeds to the numbers that identify their test samples, as far
            as known.
        progress: A `Progress`.
    """

    def __init__(self, experiment, finished, tests, progress):
        self._progress, self._tests = progress, tests
        self._ran = {run.partition("(")[0] for run, _ in finished}
        # Dict from methods to the reason and seed of their first missing run.
        self._reasons: dict[str, tuple] = {}
        alike: dict[tuple, list[int]] = {}
        for index, task in enumerate(experiment.tasks):
            if (task.run, task.seed) not in finished:
                key = task.seed, experiment.methods[task.method].train
                key = *key, *sorted((name, repr(v)) for name, v in task.setting.items())
                alike.setdefault(key, []).append(index)
        # Dict from the index that is trained to all tasks that share its run.
        self._tasks = {
            indices[0]: [experiment.tasks[index] for index in indices]
            for indices in alike.values()
        }

    @property
    def skipped(self):
        """Dict from methods to the reasons why runs are missing."""
        return {name: self._reason(name) for name in self._reasons}

    def started(self):
        """Yields the indices of the runs to train, as they start."""
        self._progress.begin(list(self._tasks.values()))
        for index, tasks in self._tasks.items():
            self._progress.start(tasks[0])
            yield index

    def ended(self, index, outcome):
        """Records an outcome, and returns the tasks that its values belong to.

        Returns an empty list if there was no run.
        """
        tasks = self._tasks[index]
        if outcome.values is None:
            for task in tasks:
                self._skip(task, outcome)
            return []
        self._check_tests(tasks[0].seed, outcome.values["test", TEST_SAMPLES])
        for task in tasks:
            self._ran.add(task.method)
            self._progress.end(task, outcome.values)
        return tasks

    def _check_tests(self, seed, number):
        if self._tests.setdefault(seed, number) != number:
            raise ValueError(
                "With the same seed, all methods must use the same test samples, but "
                "the data returned different ones. Make sure that a function of the "
                "seed returns the same data each time. Split a dataset before it is "
                "shuffled, or shuffle it with `reshuffle_each_iteration=False`. "
                f"Received: other test samples with seed {seed}"
            )

    def _skip(self, task, outcome):
        name = task.method
        is_first = name not in self._reasons
        what = "failed" if outcome.failed else "not applicable"
        self._reasons.setdefault(name, (what, task.seed, outcome.reason))
        if outcome.failed and is_first:
            warnings.warn(f"Method '{name}' {self._reason(name)}", stacklevel=4)
        self._progress.skip(task, self._reason(name))

    def _reason(self, name):
        what, seed, reason = self._reasons[name]
        where = f" with seed {seed}" if name in self._ran else ""
        return f"{what}{where}, {reason}"
