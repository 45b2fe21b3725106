"""The result of a comparison: what its runs say."""

import numpy as np
import pandas as pd
from scipy import stats

from keras_modals._src.evaluation.runs import TEST_SAMPLES, TEST_TO_TRAIN, read_runs
from keras_modals._src.evaluation.scores import ERRORS, UNITS, USUAL
from keras_modals._src.evaluation.statistics import holm, paired_test, samples_for

BASELINE = "none"
_OF_CHANGES = ("change", "standard_error", "p_value", "more_seeds")


class Comparison:
    """What the runs of `compare` say.

    Args:
        runs: DataFrame of all runs, tidy: `dataset,method,seed,split,metric,value`. A
            method with settings appears once for each, as `mixup(alpha=0.2)`.
        metric: The metric that is compared. Defaults to `None`: the one that `compare`
            takes for labels of their kind.
        skipped: Dict from method to why it has no runs.
        chosen_by: The metric by whose validation value a setting is chosen, seed by
            seed. Defaults to `None`: `metric`.
    """

    def __init__(self, runs, metric=None, skipped=None, chosen_by=None):
        self.runs = runs
        self.metric = metric or _usual_metric(runs)
        self.skipped = skipped or {}
        self.chosen_by = chosen_by

    @classmethod
    def read(cls, path, metric=None, chosen_by=None):
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
                equals, that with the lesser log loss is chosen, where there is one.

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
        """Shares are shown in points, hundredths; other scores as they are."""
        return 1.0 if self.metric in UNITS else 100.0

    @property
    def unit(self):
        """What the numbers are in, in words."""
        return UNITS.get(self.metric, "points")

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
            lines += self._lines(dataset, group)
        lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        lines.append(
            "mean ± spread over seeds; change from none on the same seeds ± its "
            "standard error; p corrected for the number of methods; in brackets the "
            "setting chosen most often"
        )
        return "\n".join(lines)

    def _lines(self, dataset, group):
        """A data set's part of the table, in words."""
        seeds = group["runs"].max()
        yield (
            f"{dataset}: test {self.metric.replace('_', ' ')}, {self.unit}, {seeds} "
            f"seed{'s' if seeds > 1 else ''}"
        )
        width = max(len(method) for _, method in group.index)
        digits = 2 if self.unit in ("points", "nats") else _digits(group["mean"])
        for (_, method), row in group.iterrows():
            level = _with_error(row["mean"], row["spread"], digits)
            line = f"  {method:{width}}  {level}"
            if row["runs"] < seeds:
                line += f" (n={row['runs']})"
            if row["verdict"] != "baseline":
                change = _with_error(row["change"], row["standard_error"], digits, "+")
                line += "   " + change
                if not np.isnan(row["corrected_p"]):
                    line += f"   p {row['corrected_p']:.2f}"
                line += f"   {row['verdict']}"
            if row["setting"]:
                line += f"   ({row['setting']})"
            yield line


def _usual_metric(runs):
    found = set(runs["metric"])
    return next((metric for metric in USUAL if metric in found), "accuracy")


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


def _digits(means):
    """Digits after the point of numbers in any unit, of which four count."""
    largest = np.abs(means).max()
    return int(np.clip(3 - np.floor(np.log10(largest)), 0, 9)) if largest > 0 else 2


def _with_error(number, error, digits, sign=""):
    """Of one seed there is no error."""
    number = f"{number:{sign}6.{digits}f}"
    return number if np.isnan(error) else f"{number} ± {error:.{digits}f}"


def _changes(scores, dataset, method, baseline):
    if (dataset, method) not in scores or (dataset, baseline) not in scores:
        return np.zeros(0)
    return (scores[dataset, method] - scores[dataset, baseline]).dropna().to_numpy()


def _degrees_of_freedom(errors, counts):
    """Of a sum of means with these standard errors (Welch and Satterthwaite)."""
    squares = np.square(errors)
    divisor = np.sum(np.square(squares) / np.maximum(np.subtract(counts, 1), 1))
    return np.square(squares.sum()) / divisor if divisor > 0 else np.nan
