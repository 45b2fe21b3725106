"""The result of a comparison."""

import numpy as np
import pandas as pd
from scipy import stats

from keras_modals._src.evaluation.runs import TEST_SAMPLES, TEST_TO_TRAIN, read_runs
from keras_modals._src.evaluation.scores import ERRORS, UNITS, USUAL
from keras_modals._src.evaluation.statistics import holm, paired_test, samples_for
from keras_modals._src.evaluation.table import as_html, as_text

BASELINE = "none"
_OF_CHANGES = ("change", "standard_error", "p_value", "more_seeds")


class Comparison:
    """The result of `compare`: its runs, and statistics of them.

    Args:
        runs: Tidy DataFrame of all runs, with the columns
            `dataset,method,seed,split,metric,value`. A method with settings appears
            once for each setting, such as `mixup(alpha=0.2)`.
        metric: String, the metric to compare. Defaults to `None`: the default of
            `compare` for this kind of labels.
        skipped: Dict from methods to the reasons why they have no runs.
        chosen_by: String, the metric whose validation value chooses a setting for each
            seed. Defaults to `None`: `metric`.
        train: `fn(run, seed)` that returns the trained model of a run.
        class_names: List of strings, the classes of the model's outputs, if the labels
            were names.
        choices: Names of methods that are choices among others.
    """

    def __init__(
        self,
        runs,
        metric=None,
        skipped=None,
        chosen_by=None,
        train=None,
        class_names=None,
        choices=(),
    ):
        self.runs = runs
        self.metric = metric or _usual_metric(runs)
        self.skipped = skipped or {}
        self.chosen_by = chosen_by
        self.class_names = class_names
        self._train, self._choices = train, choices

    @classmethod
    def read(cls, path, metric=None, chosen_by=None):
        """Reads the runs from a file that one or more calls of `compare` wrote."""
        return cls(read_runs(path), metric, chosen_by=chosen_by)

    def with_choice(self, name, methods=None):
        """Adds a method that chooses among the others by validation score.

        For each data set and seed, it is the method that is best on validation samples.
        Like any method, it is scored on test samples. Choosing among many methods by
        few samples gains less than the best of them does. Seeds that lack one of the
        methods do not count.

        Args:
            name: String, the name of the new method.
            methods: List of the methods to choose from. Defaults to `None`, all
                methods. Ties are broken by the lower log loss, if available.

        Returns:
            A `Comparison`. In its `summary()`, the column `setting` has the method
            that was chosen most often.
        """
        runs, names = self.runs, _split_names(self.runs)["method"]
        if methods is not None:
            methods = list(methods)
            if set(methods) - set(names):
                raise ValueError(
                    f"Expected some of the methods {sorted(set(names))}. "
                    f"Received: methods={methods}"
                )
            runs = runs[names.isin(methods)]
        by_name = runs.assign(method=names)
        found = by_name.groupby(["dataset", "seed"])["method"].transform("nunique")
        every = by_name.groupby("dataset")["method"].transform("nunique")
        runs = runs[found == every]
        runs = runs.assign(method=f"{name}(" + runs["method"] + ")")
        runs = pd.concat([self.runs, runs], ignore_index=True)
        return Comparison(
            runs,
            self.metric,
            self.skipped,
            self.chosen_by,
            train=self._train,
            class_names=self.class_names,
            choices=(*self._choices, name),
        )

    @property
    def scale(self):
        """The factor for display. Shares are shown in points, other scores as is."""
        return 1.0 if self.metric in UNITS else 100.0

    @property
    def unit(self):
        """The unit of the numbers, as a string."""
        return UNITS.get(self.metric, "points")

    def to_dataframe(self):
        """Returns a tidy DataFrame of the runs with the chosen settings.

        The column `setting` has the setting that each method chose for each seed, by
        validation values only.
        """
        runs = _split_names(self.runs)
        metric = self.chosen_by or self.metric
        choices = runs[(runs["split"] == "validation") & (runs["metric"] == metric)]
        keys = ["dataset", "method", "seed"]
        # Few samples have many ties. Break them by the likelihood, so that the order
        # of the file does not matter.
        losses = runs[(runs["split"] == "validation") & (runs["metric"] == "log_loss")]
        losses = losses.set_index([*keys, "setting"])["value"].rename("log_loss")
        best = choices.join(losses, on=[*keys, "setting"]).sort_values(
            ["value", "log_loss", "setting"], ascending=[metric in ERRORS, True, True]
        )
        best = best.drop_duplicates(keys)[[*keys, "setting"]]
        return runs.merge(best, on=[*keys, "setting"])

    def changes(self, dataset, method, baseline=BASELINE):
        """Returns test scores minus those of the baseline, paired by seed.

        Shares are in points.
        """
        return _changes(self._test_scores(), dataset, method, baseline)

    def _test_scores(self):
        """Scaled scores, with a column for each data set and method and a row for each
        seed."""
        runs = self.to_dataframe()
        runs = runs[(runs["split"] == "test") & (runs["metric"] == self.metric)]
        return self.scale * runs.pivot_table(
            index="seed", columns=["dataset", "method"], values="value", sort=False
        )

    def _test_to_train(self):
        """Dict from data sets to the number of test samples per training sample, as in
        `paired_test`; `0` if all seeds share their test samples."""
        runs = self.runs[self.runs["split"] == "test"]
        ratios = runs[runs["metric"] == TEST_TO_TRAIN].groupby("dataset")["value"].max()
        tests = runs[runs["metric"] == TEST_SAMPLES].groupby("dataset")["value"]
        are_same = tests.nunique().reindex(ratios.index) == 1
        return ratios.where(~are_same, 0.0).to_dict()

    def summary(self, baseline=BASELINE):
        """Returns a DataFrame with a row for each data set and method.

        Its columns are: `runs`; `mean` and `spread` (standard deviation over seeds) of
        the test metric; `change` from the baseline on the same seeds, with its
        `standard_error`, `p_value` and `corrected_p` (Holm's correction for all methods
        on the data set); the `verdict`; and the `setting` that was chosen most often.
        Shares are in points.
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
        """The setting that was chosen most often, by data set and method. It is empty
        for a method with a single setting."""
        keys = ["dataset", "method"]
        chosen = self.to_dataframe().drop_duplicates([*keys, "seed"])
        runs = _split_names(self.runs)
        has_others = chosen["method"].isin(runs.loc[runs["setting"] != "", "method"])
        is_default = has_others & (chosen["setting"] == "")
        chosen["setting"] = chosen["setting"].mask(is_default, "default")
        return chosen.groupby(keys, sort=False)["setting"].agg(_most_frequent)

    def mean_changes(self, baseline=BASELINE):
        """Returns a DataFrame with a row for each method with runs on all data sets.

        Its columns are: `change`, the mean over data sets of the change from the
        baseline; its `standard_error`, `degrees_of_freedom` and `p_value`, for fixed
        data sets and random seeds; `corrected_p` (Holm's); `worst`, the least favorable
        change on any data set; and `runs`, the smallest number of runs on any data set.
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
            return "needs more than one seed"
        if row["corrected_p"] < 0.05:
            is_better = (row["change"] > 0) != (self.metric in ERRORS)
            return "better" if is_better else "worse"
        if row["change"] == row["standard_error"] == 0:
            return "no difference"
        needed = row["more_seeds"]
        if np.isnan(needed):
            return "noise: needs more samples"
        return f"noise: needs {needed:.0f} seeds"

    def __str__(self):
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self):
        return as_html(self)

    def best_method(self, dataset=None):
        """Returns the name of the method that is best on validation samples.

        Scores are averaged over seeds. Test samples are not used.

        Args:
            dataset: String, the name of the data. Defaults to `None`, which works if
                there is only one data set.
        """
        return self._best_runs(dataset).iloc[0]["method"]

    def best_model(self):
        """Returns a trained model of `best_method()`, a plain compiled `keras.Model`.

        It is trained once more in the same way, with the setting and the seed that are
        best on validation samples. If `compare` was called with a `path`, the model is
        stored next to that file, and a later call with the same arguments loads it.

        Example:

        >>> def build():
        ...     inputs = keras.Input((8,))
        ...     model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(inputs))
        ...     model.compile("adam", "sparse_categorical_crossentropy")
        ...     return model
        >>> data = np.random.normal(size=(90, 8)), np.arange(90) % 3
        >>> result = keras_modals.compare(build, data, seeds=1, epochs=2, verbose=0)
        >>> result.best_model().predict(data[0], verbose=0).shape
        (90, 3)
        """
        if self._train is None:
            raise ValueError(
                "Runs read from a file have no model. Call `compare` again with the "
                "same arguments and `path`: finished runs are not trained again."
            )
        best = self._best_runs().iloc[0]
        run = best["method"] + (f"({best['setting']})" if best["setting"] else "")
        rows = self.runs[
            (self.runs["method"] == run) & (self.runs["seed"] == best["seed"])
        ]
        # These rows identify the run: a repeated training has other scores or times.
        return self._train(run, int(best["seed"]), rows.to_csv(index=False))

    def _best_runs(self, dataset=None):
        """Validation values of the chosen settings, sorted by method and then by seed,
        the best first."""
        runs = self.to_dataframe()
        names = list(dict.fromkeys(runs["dataset"]))
        if dataset is None and len(names) == 1:
            (dataset,) = names
        if dataset not in names:
            raise ValueError(
                f"Expected one of the data sets {names}. Received: dataset={dataset!r}"
            )
        metric = self.chosen_by or self.metric
        runs = runs[(runs["dataset"] == dataset) & (runs["split"] == "validation")]
        runs = runs[(runs["metric"] == metric) & ~runs["method"].isin(self._choices)]
        means = runs.groupby("method", sort=False)["value"].transform("mean")
        is_error = metric in ERRORS
        return runs.assign(mean=means).sort_values(
            ["mean", "value"], ascending=[is_error, is_error], kind="stable"
        )


def _usual_metric(runs):
    found = set(runs["metric"])
    return next((metric for metric in USUAL if metric in found), "accuracy")


def _split_names(runs):
    """Splits names such as `mixup(alpha=0.2)` into method and setting."""
    names = pd.Series(runs["method"].unique(), dtype=str)
    parts = names.str.extract(r"^([^(]*)(?:\((.*)\))?$").fillna("").set_index(names)
    return runs.assign(
        method=runs["method"].map(parts[0]), setting=runs["method"].map(parts[1])
    )


def _most_frequent(settings):
    """The most frequent setting, with its count if there are others."""
    counts = settings.value_counts()
    if len(counts) == 1:
        return settings.iloc[0]
    return f"{counts.index[0]}, {counts.iloc[0]} of {len(settings)}"


def _changes(scores, dataset, method, baseline):
    if (dataset, method) not in scores or (dataset, baseline) not in scores:
        return np.zeros(0)
    return (scores[dataset, method] - scores[dataset, baseline]).dropna().to_numpy()


def _degrees_of_freedom(errors, counts):
    """Degrees of freedom of a sum of means with these standard errors (Welch and
    Satterthwaite)."""
    squares = np.square(errors)
    divisor = np.sum(np.square(squares) / np.maximum(np.subtract(counts, 1), 1))
    return np.square(squares.sum()) / divisor if divisor > 0 else np.nan
