"""Runs that are stored as they finish, one line each, and a table of paired changes."""

import csv
import itertools
import statistics


class Runs:
    """The runs in one file. A second call goes on where the first stopped.

    Args:
        path: The file, CSV.
        measures: Names of the numbers that a run returns. The first is a share, shown
            in points; the second is shown as it is.
    """

    def __init__(self, path, measures=("accuracy", "loss")):
        self.path = path
        self.measures = measures

    def read(self):
        if not self.path.exists():
            return []
        with self.path.open() as file:
            return list(csv.DictReader(file))

    def run_all(self, run, datasets, methods, seeds):
        """Calls `run(dataset, method, seed)` for what is not in the file yet."""
        self.path.parent.mkdir(exist_ok=True)
        rows = self.read()
        if not rows:
            fields = ["dataset", "method", "seed", *self.measures]
            self.path.write_text(",".join(fields) + "\n")
        done = {(row["dataset"], row["method"], int(row["seed"])) for row in rows}
        todo = [
            (dataset, method, seed)
            for seed, dataset, method in itertools.product(seeds, datasets, methods)
            if (dataset, method, seed) not in done
        ]
        for number, key in enumerate(todo):
            values = run(*key)
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow([*key, *[f"{value:.5f}" for value in values]])
            print(f"{number + 1}/{len(todo)}", *key, f"{values[0]:.4f}", flush=True)

    def print_table(self, methods, baseline="none"):
        """Change against the baseline, paired by seed, with its standard error."""
        rows = self.read()
        datasets = list(dict.fromkeys(row["dataset"] for row in rows))
        score = {}
        for row in rows:
            runs = score.setdefault((row["dataset"], row["method"]), {})
            first, second = (float(row[name]) for name in self.measures[:2])
            runs[row["seed"]] = 100 * first, second
        print("| method | " + " | ".join(datasets) + " | mean | worst |")
        print("|---" * (len(datasets) + 3) + "|")
        for method in methods:
            changes = [
                _change(score.get((dataset, method), {}), score[dataset, baseline])
                for dataset in datasets
            ]
            if method == baseline:
                cells = [_level(score[dataset, baseline]) for dataset in datasets]
                summary = " | "
            else:
                cells = [
                    "" if c is None else f"{c[0]:+.1f} ({c[1]:.1f}), {c[2]:+.2f}"
                    for c in changes
                ]
                means = [c[0] for c in changes if c is not None]
                if not means:
                    continue
                summary = f"{statistics.mean(means):+.2f} | {min(means):+.1f}"
            print(f"| {method} | " + " | ".join(cells) + f" | {summary} |")


def _level(runs):
    first, second = (
        statistics.mean(values) for values in zip(*runs.values(), strict=True)
    )
    return f"{first:.1f} ({second:.2f}, n={len(runs)})"


def _change(runs, baseline):
    """Mean change of the first measure, its standard error, and that of the second."""
    both = [seed for seed in runs if seed in baseline]
    if not both:
        return None
    first, second = (
        [runs[seed][i] - baseline[seed][i] for seed in both] for i in range(2)
    )
    error = (
        statistics.stdev(first) / len(first) ** 0.5 if len(first) > 1 else float("nan")
    )
    return statistics.mean(first), error, statistics.mean(second)
