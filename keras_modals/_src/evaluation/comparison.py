"""The result of a comparison: stored runs, and what they say."""

import codecs
import csv
import io
import os
import pathlib
import time

import numpy as np
import pandas as pd
from scipy import stats

from keras_modals._src.arguments import shown
from keras_modals._src.evaluation.scores import ERRORS
from keras_modals._src.evaluation.statistics import holm, paired_test, samples_for

COLUMNS = ("dataset", "method", "seed", "split", "metric", "value")
#: Under this metric of the test split: test samples per training sample.
TEST_TO_TRAIN = "test_to_train"
#: Under this metric of the test split: a number for the test samples.
TEST_SAMPLES = "test_samples"
#: Under this metric of the training split: a number for the settings of the call.
SETTINGS = "settings"
BASELINE = "none"
_OF_CHANGES = ("change", "standard_error", "p_value", "more_seeds")


#: Ends a line that was cut: it has too many fields for a row.
_CUT = "," * len(COLUMNS) + "\n"
_HEADER = ",".join(COLUMNS) + "\n"


class RunFile:
    """Runs, appended to a CSV file as they finish. Several processes may share it.

    Args:
        path: Path of the file, or `None` to keep the runs in memory.
    """

    def __init__(self, path=None):
        self.path = None if path is None else pathlib.Path(path)
        self._rows = []
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                # What is no file of runs stays as it is.
                read_runs(self.path)
            _append(self.path)

    def append(self, dataset, method, seed, values):
        """Adds one run. `values` maps (split, metric) to a number."""
        rows = [
            (dataset, method, seed, split, metric, round(float(value), 6))
            for (split, metric), value in values.items()
        ]
        if self.path is None:
            self._rows += rows
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        _append(self.path, text.getvalue())

    def finished(self, dataset, needed=(("train", SETTINGS),)):
        """Which runs of a data set are whole: pairs of method and seed.

        Args:
            dataset: String.
            needed: The (split, metric) that a whole run has. Defaults to the settings,
                which `compare` writes last.
        """
        runs = self.read()
        runs = runs[runs["dataset"] == dataset]
        rows = set(zip(*(runs[column] for column in COLUMNS[1:-1]), strict=True))
        pairs = {(method, seed) for method, seed, _, _ in rows}
        return {pair for pair in pairs if all((*pair, *n) in rows for n in needed)}

    def read(self):
        if self.path is None:
            return pd.DataFrame(self._rows, columns=COLUMNS)
        return read_runs(self.path)


def read_runs(path):
    """The runs in a file.

    Lines that were cut are left out. A run that was cut and trained again counts as it
    was written last.

    Raises:
        ValueError: With path and line, for what `RunFile` does not write.
    """
    content = pathlib.Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    # What follows the last end of a line was cut, or is just being written.
    *lines, last = content.split(b"\n")
    if not lines and _HEADER.encode().startswith(last):
        return pd.DataFrame([], columns=COLUMNS)
    if not lines or _fields(lines[0]) != COLUMNS:
        raise ValueError(
            f"Invalid value received for argument `path`. Expected the path of a new "
            f"file, or of one that `compare` wrote, with the first line "
            f"{_HEADER.strip()!r}. Received: path={path}, with the first line "
            f"{shown((lines or [last])[0])}"
        )
    runs = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = _fields(line)
        # Others were cut, or joined with what followed. Files may be joined, too.
        if len(fields) == len(COLUMNS) and fields != COLUMNS:
            *row, value = _row(fields, line, f"{path}, line {number}")
            runs[tuple(row)] = value
    return pd.DataFrame([(*row, runs[row]) for row in runs], columns=COLUMNS)


def _fields(line):
    text = line.decode("utf-8", "replace").rstrip("\r")
    try:
        return tuple(next(csv.reader([text])))
    except csv.Error:
        # A block of bytes that is too long for a field.
        return ()


def _row(fields, line, where):
    dataset, method, seed, split, metric, value = fields
    try:
        line.decode("utf-8")
        if b"\0" in line:
            raise ValueError
        return dataset, method, int(seed), split, metric, float(value or "nan")
    except ValueError:
        raise ValueError(
            f"{where}: expected UTF-8, with numbers as seed and value. Delete the "
            "line, after which `compare` trains its run again, or use another `path`. "
            f"Received: {shown(line)}"
        ) from None


def _append(path, text=""):
    """Adds lines by one write: those of processes that share a file do not mix. Starts
    a file with its first line, and ends a line that was cut."""
    is_new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        start = _unwritten(file)
        if start and not is_new:
            time.sleep(0.2)
            # Otherwise another process was writing, its first line or a run.
            start = _unwritten(file)
        data = (start + text).encode()
        while data:
            data = data[file.write(data) :]


def _unwritten(file):
    """What has to be written before a new line can be."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(_HEADER)))
    end = file.read().decode("utf-8", "replace")
    if size == len(end) and _HEADER.startswith(end):
        return _HEADER[size:]
    return "" if end.endswith("\n") else _CUT


class Comparison:
    """What the runs of `compare` say.

    Args:
        runs: DataFrame of all runs, tidy: `dataset,method,seed,split,metric,value`. A
            method with settings appears once for each, as `mixup(alpha=0.2)`.
        metric: The metric that is compared. Defaults to `"accuracy"`.
        skipped: Dict from method to why it has no runs.
        chosen_by: The metric by whose validation value a setting is chosen, seed by
            seed. Defaults to `None`: `metric`.
    """

    def __init__(self, runs, metric="accuracy", skipped=None, chosen_by=None):
        self.runs = runs
        self.metric = metric
        self.skipped = skipped or {}
        self.chosen_by = chosen_by

    @classmethod
    def read(cls, path, metric="accuracy", chosen_by=None):
        """The runs in a file that `compare` wrote, or many calls of it."""
        return cls(read_runs(path), metric, chosen_by=chosen_by)

    def with_choice(self, name, methods=None):
        """The same with one more method: of others, data set by data set and seed by
        seed the one that is best on validation samples.

        It is judged on test samples as any method is: choosing among many by few
        samples gains less than the best of them does. Seeds that lack one of the
        methods do not count.

        Args:
            name: String, what to call it.
            methods: Names of those to choose from. Defaults to `None`, all. Among
                equals, that with the lesser log loss is chosen.

        Returns:
            A `Comparison`, in whose `summary()` the column `setting` says which was
            chosen most often.
        """
        runs = self.runs
        if methods is not None:
            methods, names = list(methods), _split_names(runs)["method"]
            if set(methods) - set(names):
                raise ValueError(
                    f"Expected some of the methods {sorted(set(names))}. "
                    f"Received: methods={methods}"
                )
            runs = runs[names.isin(methods)]
        found = runs.groupby(["dataset", "seed"])["method"].transform("nunique")
        runs = runs[found == runs.groupby("dataset")["method"].transform("nunique")]
        runs = runs.assign(method=f"{name}(" + runs["method"] + ")")
        runs = pd.concat([self.runs, runs], ignore_index=True)
        return Comparison(runs, self.metric, self.skipped, self.chosen_by)

    @property
    def scale(self):
        """Shares are shown in points, hundredths; errors as they are."""
        return 1.0 if self.metric == "log_loss" else 100.0

    def to_dataframe(self):
        """The runs with the setting that each method chose for each seed, tidy.

        The column `setting` has what was chosen. Test values had no part in it.
        """
        runs = _split_names(self.runs)
        metric = self.chosen_by or self.metric
        choices = runs[(runs["split"] == "validation") & (runs["metric"] == metric)]
        keys = ["dataset", "method", "seed"]
        # Few samples have many ties: then the likelihood decides, whatever the order
        # of the file.
        losses = runs[(runs["split"] == "validation") & (runs["metric"] == "log_loss")]
        losses = losses.set_index([*keys, "setting"])["value"].rename("log_loss")
        best = choices.join(losses, on=[*keys, "setting"]).sort_values(
            ["value", "log_loss", "setting"], ascending=[metric in ERRORS, True, True]
        )
        best = best.drop_duplicates(keys)[[*keys, "setting"]]
        return runs.merge(best, on=[*keys, "setting"])

    def changes(self, dataset, method, baseline=BASELINE):
        """Test scores minus the baseline's, paired by seed, in points for shares."""
        return _changes(self._test_scores(), dataset, method, baseline)

    def _test_scores(self):
        """A column for each data set and method, a row for each seed, scaled."""
        runs = self.to_dataframe()
        runs = runs[(runs["split"] == "test") & (runs["metric"] == self.metric)]
        return self.scale * runs.pivot_table(
            index="seed", columns=["dataset", "method"], values="value", sort=False
        )

    def _test_to_train(self):
        """Dict from data set to test samples per training sample where every seed has
        its own test samples, as in `paired_test`; `0` where they are the same."""
        runs = self.runs[self.runs["split"] == "test"]
        ratios = runs[runs["metric"] == TEST_TO_TRAIN].groupby("dataset")["value"].max()
        tests = runs[runs["metric"] == TEST_SAMPLES].groupby("dataset")["value"]
        are_same = tests.nunique().reindex(ratios.index) == 1
        return ratios.where(~are_same, 0.0).to_dict()

    def summary(self, baseline=BASELINE):
        """DataFrame with a row for each data set and method.

        Columns: `runs`; `mean` and `spread` (standard deviation over seeds) of the test
        metric; `change` from the baseline on the same seeds, its `standard_error`,
        `p_value` and `corrected_p` (Holm's, for all methods on the data set); and what
        that means, `verdict`; and the `setting` that was chosen most often. Shares are
        in points.
        """
        scores, ratios = self._test_scores(), self._test_to_train()
        rows = []
        for dataset, method in scores.columns:
            values = scores[dataset, method].dropna()
            row = {
                "dataset": dataset,
                "method": method,
                "runs": len(values),
                "mean": values.mean(),
                "spread": values.std(),
            }
            if method != baseline:
                changes = _changes(scores, dataset, method, baseline)
                ratio = ratios.get(dataset, 0.0)
                test = paired_test(changes, ratio)
                row["change"], row["standard_error"], row["p_value"] = test
                if len(changes) > 1:
                    others = len(scores[dataset].columns) - 1
                    row["more_seeds"] = samples_for(changes, ratio, others)
            rows.append(row)
        columns = ("runs", "mean", "spread", *_OF_CHANGES)
        table = pd.DataFrame(rows, columns=["dataset", "method", *columns])
        table = table.astype(dict.fromkeys(_OF_CHANGES, "float64"))
        table = table.set_index(["dataset", "method"])
        by_dataset = table.groupby("dataset", sort=False)["p_value"]
        table["corrected_p"] = by_dataset.transform(holm)
        table["verdict"] = [
            "baseline" if method == baseline else self._verdict(row)
            for (_, method), row in table.iterrows()
        ]
        table["setting"] = self._settings()
        return table.drop(columns="more_seeds")

    def _settings(self):
        """The setting that was chosen most often, by data set and method; of a method
        that has no others, an empty one."""
        keys = ["dataset", "method"]
        chosen = self.to_dataframe().drop_duplicates([*keys, "seed"])
        runs = _split_names(self.runs)
        has_others = chosen["method"].isin(runs.loc[runs["setting"] != "", "method"])
        is_default = has_others & (chosen["setting"] == "")
        chosen["setting"] = chosen["setting"].mask(is_default, "default")
        return chosen.groupby(keys, sort=False)["setting"].agg(_most_frequent)

    def mean_changes(self, baseline=BASELINE):
        """DataFrame with a row for each method that all data sets have runs of.

        Columns: `change`, the mean over data sets of the change from the baseline;
        its `standard_error`, `degrees_of_freedom` and `p_value`, where the data sets
        are given and seeds are what varies; `corrected_p` (Holm's); `worst`, the change
        on the data set where it is least, or for an error most; and the fewest `runs`
        on a data set.
        """
        datasets = list(dict.fromkeys(self.runs["dataset"]))
        scores, ratios = self._test_scores(), self._test_to_train()
        methods = dict.fromkeys(method for _, method in scores.columns)
        rows = {}
        for method in methods:
            changes = [_changes(scores, d, method, baseline) for d in datasets]
            runs = min(len(values) for values in changes)
            if method == baseline or runs == 0:
                continue
            tests = [
                paired_test(values, ratios.get(dataset, 0.0))
                for dataset, values in zip(datasets, changes, strict=True)
            ]
            means = np.array([test.mean for test in tests])
            errors = np.array([test.standard_error for test in tests])
            change, error = means.mean(), np.sqrt(np.sum(errors**2)) / len(datasets)
            degrees = _degrees_of_freedom(errors, [len(values) for values in changes])
            rows[method] = {
                "change": change,
                "standard_error": error,
                "degrees_of_freedom": degrees,
                "p_value": 2 * stats.t.sf(abs(change / error), degrees)
                if error > 0
                else np.nan,
                "worst": means.max() if self.metric in ERRORS else means.min(),
                "runs": runs,
            }
        table = pd.DataFrame.from_dict(rows, orient="index")
        if len(table):
            table["corrected_p"] = holm(table["p_value"])
        return table

    def _verdict(self, row):
        if np.isnan(row["corrected_p"]):
            return "one seed tells nothing"
        if row["corrected_p"] < 0.05:
            is_better = (row["change"] > 0) != (self.metric in ERRORS)
            return "better" if is_better else "worse"
        if row["change"] == row["standard_error"] == 0:
            return "no difference"
        needed = row["more_seeds"]
        if np.isnan(needed):
            return "noise, for any number of seeds: it would take more samples"
        return f"noise: it would take {needed:.0f} seeds"

    def __str__(self):
        table = self.summary()
        lines = []
        for dataset, group in table.groupby("dataset", sort=False):
            seeds = group["runs"].max()
            unit = "points" if self.scale == 100 else "nats"
            lines.append(
                f"{dataset}: test {self.metric.replace('_', ' ')}, {unit}, {seeds} "
                f"seed{'s' if seeds > 1 else ''}"
            )
            width = max(len(method) for _, method in group.index)
            for (_, method), row in group.iterrows():
                level = _with_error(f"{row['mean']:6.2f}", row["spread"])
                line = f"  {method:{width}}  {level}"
                if row["runs"] < seeds:
                    line += f" (n={row['runs']})"
                if row["verdict"] != "baseline":
                    line += "   " + _with_error(
                        f"{row['change']:+6.2f}", row["standard_error"]
                    )
                    if not np.isnan(row["corrected_p"]):
                        line += f"   p {row['corrected_p']:.2f}"
                    line += f"   {row['verdict']}"
                if row["setting"]:
                    line += f"   ({row['setting']})"
                lines.append(line)
        lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        lines.append(
            "mean ± spread over seeds; change from none on the same seeds ± its "
            "standard error; p corrected for the number of methods; in brackets the "
            "setting chosen most often"
        )
        return "\n".join(lines)


def _split_names(runs):
    """Runs with `mixup(alpha=0.2)` as method and setting."""
    names = pd.Series(runs["method"].unique(), dtype=str)
    parts = names.str.extract(r"^([^(]*)(?:\((.*)\))?$").fillna("").set_index(names)
    return runs.assign(
        method=runs["method"].map(parts[0]), setting=runs["method"].map(parts[1])
    )


def _most_frequent(settings):
    """And how often, where there are others."""
    counts = settings.value_counts()
    if len(counts) == 1:
        return settings.iloc[0]
    return f"{counts.index[0]}, {counts.iloc[0]} of {len(settings)}"


def _with_error(number, error):
    """Of one seed there is none."""
    return number if np.isnan(error) else f"{number} ± {error:.2f}"


def _changes(scores, dataset, method, baseline):
    if (dataset, method) not in scores or (dataset, baseline) not in scores:
        return np.zeros(0)
    return (scores[dataset, method] - scores[dataset, baseline]).dropna().to_numpy()


def _degrees_of_freedom(errors, counts):
    """Of a sum of means with these standard errors (Welch and Satterthwaite)."""
    squares = np.square(errors)
    divisor = np.sum(np.square(squares) / np.maximum(np.subtract(counts, 1), 1))
    return np.square(squares.sum()) / divisor if divisor > 0 else np.nan
