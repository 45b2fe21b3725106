"""Benchmarks alternatives to neural networks, on the samples of the study `results`.

    KERAS_MODALS_DATA=folder python -m benchmarks.accuracy.context [--datasets ...]
        [--seeds 10]

Writes `benchmarks/accuracy/context.csv`. A second call resumes where the first stopped.
Tables and frozen features use classifiers of scikit-learn. Series use aeon's MiniRocket
with a ridge classifier, which does not predict probabilities. Validation samples choose
the setting.
"""

import argparse
import importlib.metadata
import itertools
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from benchmarks import data
from benchmarks.accuracy import stored
from benchmarks.accuracy.problems import problem
from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.labels import Classes

FEATURES = (
    "iris",
    "breast",
    "digits",
    "abalone",
    "htru2",
    "arcene",
    "leaves",
    "vowels",
    "trec6_sentences",
    "sst2_sentences",
)
SERIES = ("watch", "fsdd", "japanese_vowels", "crops")


def logistic_regression(seed, penalty):
    return LogisticRegression(C=1 / penalty, max_iter=2000)


def support_vector_machine(seed, penalty):
    return CalibratedClassifierCV(SVC(C=1 / penalty), ensemble=False)


def random_forest(seed, max_features):
    return RandomForestClassifier(300, max_features=max_features, random_state=seed)


def gradient_boosting(seed, max_leaf_nodes):
    return HistGradientBoostingClassifier(
        max_leaf_nodes=max_leaf_nodes, min_samples_leaf=5, random_state=seed
    )


def mini_rocket(seed):
    from aeon.transformations.collection.convolution_based import MiniRocket

    ridge = RidgeClassifierCV(np.logspace(-3, 3, 10))
    return make_pipeline(MiniRocket(random_state=seed), ridge)


#: Name to the classifier and its grid of settings.
CLASSIFIERS = {
    "logistic regression": (logistic_regression, {"penalty": (0.1, 1.0, 10.0, 100.0)}),
    "support vector machine": (support_vector_machine, {"penalty": (0.01, 0.1, 1.0)}),
    "random forest": (random_forest, {"max_features": ("sqrt", 0.3)}),
    "gradient boosting": (gradient_boosting, {"max_leaf_nodes": (4, 31)}),
}
SERIES_CLASSIFIERS = {"MiniRocket": (mini_rocket, {})}


def rows_of(name, seed, missing):
    """Yields a row for each missing classifier on a data set with a seed."""
    parts = problem(name).load(seed)
    outputs = data.load(name).outputs
    kind = kind_of(Classes(outputs), (None, outputs))
    x, y = parts["train"]
    for method, (make, grid) in missing.items():
        best, chosen, start = -1.0, None, time.monotonic()
        for setting in ParameterGrid(grid):
            classifier = make(seed, **setting).fit(_inputs(x), y)
            score = np.mean(
                classifier.predict(_inputs(parts["validation"][0]))
                == parts["validation"][1]
            )
            if score > best:
                best, chosen = score, (classifier, setting)
        seconds = time.monotonic() - start
        classifier, setting = chosen
        row = {"dataset": name, "method": method, "seed": seed, "seconds": seconds}
        row["setting"] = ", ".join(f"{key}={value}" for key, value in setting.items())
        for part in ("validation", "test"):
            scores = _scores(classifier, kind, outputs, *parts[part])
            row |= {f"{part}_{metric}": value for metric, value in scores.items()}
        yield row


def _inputs(x):
    """Returns features for scikit-learn, or series for aeon: channels before time."""
    return x if x.ndim == 2 else np.swapaxes(x, 1, 2).astype("float32")


def _scores(classifier, kind, outputs, x, y):
    x = _inputs(x)
    probabilities = np.zeros((len(y), outputs))
    if hasattr(classifier, "predict_proba"):
        probabilities[:, classifier.classes_] = classifier.predict_proba(x)
        return kind.all_scores(y, probabilities)
    probabilities[np.arange(len(y)), classifier.predict(x)] = 1.0
    scores = kind.all_scores(y, probabilities)
    return {
        name: value
        for name, value in scores.items()
        if name not in ("log_loss", "calibration_error")
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", default=(*FEATURES, *SERIES))
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    path = stored.FOLDER / "context.csv"
    about = stored.about()
    for seed, name in itertools.product(range(arguments.seeds), arguments.datasets):
        is_series = name in SERIES
        package = "aeon" if is_series else "scikit-learn"
        about["backend"] = f"{package} {importlib.metadata.version(package)}"
        finished = stored.finished(path)
        missing = {
            method: each
            for method, each in (
                SERIES_CLASSIFIERS if is_series else CLASSIFIERS
            ).items()
            if (name, method, seed) not in finished
        }
        if missing:
            rows = pd.DataFrame(list(rows_of(name, seed, missing)))
            stored.add(path, rows.assign(**about))
            print(f"{name}, seed {seed}", flush=True)


if __name__ == "__main__":
    main()
