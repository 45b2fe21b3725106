"""The result of a comparison: what its runs say."""

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
    """What the runs of `compare` say.

    Args:
        runs: DataFrame of all runs, tidy: `dataset,method,seed,split,metric,value`. A
            method with settings appears once for each, as `mixup(alpha=0.2)`.
        metric: The metric that is compared. Defaults to `None`: the one that `compare`
            takes for labels of their kind.
        skipped: Dict from method to why it has no runs.
        chosen_by: The metric by whose validation value a setting is chosen, seed by
            seed. Defaults to `None`: `metric`.
        train: `fn(run, seed)` that returns the model of a run, trained.
        class_names: List of strings, the classes of the model's outputs, where labels
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
            return "noise: needs more samples"
        return f"noise: needs {needed:.0f} seeds"

    def __str__(self):
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self):
        return as_html(self)

    def best_method(self, dataset=None):
        """The name of the method that is best on validation samples, in the mean over
        seeds. Test samples have no part in it.

        Args:
            dataset: String, the name of the data. Defaults to `None`, where there is
                one.
        """
        return self._best_runs(dataset).iloc[0]["method"]

    def best_model(self):
        """A trained model of `best_method()`, a plain and compiled `keras.Model`.

        It is trained once more as it was compared, with the setting and the seed that
        are best on validation samples. Where `compare` has a `path`, it is stored
        beside the file of runs, and a later call with the same arguments loads it.

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
                "Runs that were read from a file have no model: call `compare` again, "
                "with the same arguments and `path`, which trains nothing that is "
                "there."
            )
        best = self._best_runs().iloc[0]
        run = best["method"] + (f"({best['setting']})" if best["setting"] else "")
        rows = self.runs[
            (self.runs["method"] == run) & (self.runs["seed"] == best["seed"])
        ]
        # One that was trained anew has other scores, or took other seconds.
        return self._train(run, int(best["seed"]), rows.to_csv(index=False))

    def _best_runs(self, dataset=None):
        """Validation values of chosen settings, the best method first, and of a method
        the best seed."""
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


def _changes(scores, dataset, method, baseline):
    if (dataset, method) not in scores or (dataset, baseline) not in scores:
        return np.zeros(0)
    return (scores[dataset, method] - scores[dataset, baseline]).dropna().to_numpy()


def _degrees_of_freedom(errors, counts):
    """Of a sum of means with these standard errors (Welch and Satterthwaite)."""
    squares = np.square(errors)
    divisor = np.sum(np.square(squares) / np.maximum(np.subtract(counts, 1), 1))
    return np.square(squares.sum()) / divisor if divisor > 0 else np.nan
