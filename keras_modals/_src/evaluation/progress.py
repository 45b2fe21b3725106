import math
import threading
import time

import numpy as np

from keras_modals._src.evaluation.comparison import BASELINE
from keras_modals._src.evaluation.estimate import steps_and_seconds
from keras_modals._src.evaluation.scores import ERRORS
from keras_modals._src.models.augment import DEFAULT_WARMUP
from keras_modals._src.status_line import StatusLine, format_duration


class Progress:
    """Shows the progress of a comparison, in one line or in one line for each run.

    Args:
        experiment: The `Experiment`.
        metric: String, the metric to compare.
        n_jobs: Integer, the number of parallel runs.
        verbose: 0, 1, 2 or `"auto"`, as in `compare`.
    """

    def __init__(self, experiment, metric, n_jobs, verbose):
        self._experiment, self._metric, self._n_jobs = experiment, metric, n_jobs
        self._verbose = 1 if verbose == "auto" else verbose
        self._line = StatusLine()
        # Backends of joblib may start runs from their own thread.
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._running: list = []
        # Dict from seeds to a dict from methods to their best score.
        self._scores: dict[int, dict[str, float]] = {}

    def begin(self, groups):
        """Prints the number of trainings, and the estimated time, before the first.

        Args:
            groups: List of lists of tasks. The tasks in a list share a training.
        """
        tasks = [task for tasks in groups for task in tasks]
        self._total = len(tasks)
        if self._verbose and tasks:
            methods = self._experiment.methods
            trainings = sum(methods[tasks[0].method].trainings for tasks in groups)
            steps, seconds = steps_and_seconds(self._experiment)
            about = ""
            if seconds is not None:
                duration = format_duration(seconds * trainings / self._n_jobs)
                about = f", about {duration}"
            number = len({task.method for task in tasks})
            settings = len({(task.method, task.run) for task in tasks})
            chosen = f" with {settings} settings" if settings > number else ""
            seeds = len({task.seed for task in tasks})
            each = self._experiment.epochs
            self._print(
                f"{_counted(trainings, 'training')} of {_counted(each, 'epoch')}: "
                f"{_counted(number, 'method')}{chosen}, {_counted(seeds, 'seed')}"
                f"{about}"
            )
            least = 3 * DEFAULT_WARMUP
            if steps is not None and steps < least and set(methods) != {BASELINE}:
                self._print(
                    f"Each training has {_counted(steps, 'step')}, and mixing warms up "
                    f"for {DEFAULT_WARMUP}: use at least "
                    f"{math.ceil(each * least / steps)} epochs"
                )
        self._start = time.monotonic()

    def start(self, task):
        with self._lock:
            self._running.append(task)
            if self._verbose == 1:
                self._show()

    def end(self, task, values):
        score = values["validation", self._metric]
        better = min if self._metric in ERRORS else max
        with self._lock:
            best = self._scores.setdefault(task.seed, {})
            best[task.method] = better(score, best.get(task.method, score))
        text = f"{task.method}, seed {task.seed}: validation {self._metric}"
        self._advance(task, f"{text} {score:.4f}")

    def skip(self, task, reason):
        self._advance(task, f"{task.method}: {reason}")

    def _advance(self, task, text):
        with self._lock:
            self._done += 1
            self._running = [each for each in self._running if each is not task]
            if self._verbose == 1:
                self._show()
            elif self._verbose == 2:
                self._print(f"{self._done}/{self._total} {text}, {self._left()} left")

    def _show(self):
        parts = [f"{self._done}/{self._total}"]
        if self._done:
            parts.append(f"{self._left()} left")
        if leader := self._leader():
            parts.append(f"leading on validation data: {leader}")
        if self._running:
            runs = [f"{task.run} (seed {task.seed})" for task in self._running]
            parts.append(f"running {' and '.join(runs)}")
        self._line.write(", ".join(parts), ends=self._done == self._total)

    def _print(self, text):
        self._line.write(text, ends=True)

    def _left(self):
        each = (time.monotonic() - self._start) / max(self._done, 1)
        return format_duration(each * (self._total - self._done))

    def _leader(self):
        """The best method on validation samples, over the seeds that all methods
        finished."""
        methods = {method for best in self._scores.values() for method in best}
        whole = [best for best in self._scores.values() if set(best) == methods]
        if len(methods) < 2 or not whole:
            return None
        means = {name: np.mean([best[name] for best in whole]) for name in methods}
        better = min if self._metric in ERRORS else max
        return better(sorted(means), key=means.__getitem__)


def _counted(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
