"""Times functions in turn, round after round, in one process."""

import gc
import importlib
import statistics
import time


def time_in_turn(functions, rounds, warmup=1):
    """Returns the median milliseconds of each function.

    Args:
        functions: Dict from name to `fn()`.
        rounds: Number of timed calls of each function.
        warmup: Number of calls before them.
    """
    times = {name: [] for name in functions}
    for round_ in range(warmup + rounds):
        for name, function in functions.items():
            gc.collect()
            start = time.perf_counter()
            function()
            if round_ >= warmup:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def run_part(task):
    """Returns the rows of a part of the benchmark. A task is a `(name, quick)` pair."""
    name, quick = task
    return list(importlib.import_module(f"benchmarks.speed.{name}").rows(quick))
