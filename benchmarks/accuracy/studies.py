"""Studies: runs that belong together, in one file of results each."""

from collections import namedtuple

from benchmarks.accuracy.methods import (
    ALL,
    CANDIDATES,
    CHOOSING,
    ENCODERS,
    IMBALANCE,
    TARGETS,
    UNLABELED,
)

Study = namedtuple("Study", ["methods", "datasets", "metric", "tuning"])
Study.__doc__ = """Methods on data sets.

Attributes:
    methods: Dict from name to `Method`.
    datasets: Names that `problem` accepts.
    metric: Metric that chooses settings and is reported. `None` uses the metric of the
        kind of targets.
    tuning: Whether half of the validation samples replace the test samples, to choose
        the package's defaults.
"""

#: Data sets that ship with packages of the extra `benchmarks`.
PACKAGED = (
    "leaves",
    "vowels",
    "japanese_vowels",
    "crops",
    "silhouettes",
    "radicals",
    "languages",
    "splice",
)
SMALL = (
    "iris",
    "breast",
    "digits",
    "abalone",
    "htru2",
    "arcene",
    "watch",
    "fsdd",
    "mnist",
    "cifar10",
    "trec6",
    "sst2",
    "trec6_sentences",
    "sst2_sentences",
    *PACKAGED,
)
_FOR_TUNING = (
    "digits",
    "abalone",
    "breast",
    "fsdd",
    "mnist",
    "watch",
    "trec6_sentences",
    "trec6",
    "sst2",
    "trec6:0.275",
    "trec6/masked_bilstm",
    "trec6/masked_bilstm:0.275",
    "trec6/transformer",
    "fsdd/residual_1d",
)
#: Other kinds of targets, to the metric that is shown and the names of the data sets.
OTHER_TARGETS = {
    "Numbers": ("r2", ("diabetes", "mpg", "concrete", "rings", "tecator")),
    "Several labels at once": (
        "average_precision",
        ("yeast", "mnist_several", "fsdd_voices", "turkish_forms"),
    ),
    "A label for each word or frame": (
        "macro_f1",
        ("turkish_words", "japanese_names", "fsdd_frames"),
    ),
    "A label for each pixel": (
        "mean_iou",
        ("mnist_on_photos", "fsdd_persons", "nuclei"),
    ),
}
_NAMES_OF_OTHER_TARGETS = tuple(
    name for _, names in OTHER_TARGETS.values() for name in names
)

#: Data sets with few labels: the smallest number of labels, a larger and the largest.
FEW_LABELS = (
    (
        "digits+50",
        "mnist+50",
        "fsdd+50",
        "watch+35",
        "abalone+50",
        "breast+20",
        "trec6+150",
        "trec6_sentences+50",
    ),
    (
        "digits+100",
        "mnist+100",
        "fsdd+100",
        "watch+70",
        "abalone+100",
        "breast+40",
        "trec6+300",
        "trec6_sentences+100",
    ),
    (
        "digits+200",
        "mnist+200",
        "fsdd+200",
        "watch+140",
        "abalone+200",
        "breast+80",
        "trec6+545",
        "trec6_sentences+200",
    ),
)

#: Kinds of data to the same samples with other encoders. For audio and token texts,
#: the study `tuning` has them.
OF_ENCODERS = {
    "Images": ("mnist/residual_2d", "mnist/vision_transformer"),
    "Frozen features of texts": ("trec6_sentences/linear", "trec6_sentences"),
}
#: Audio and token texts with other encoders, in the study `tuning`.
ENCODERS_OF_TUNING = (
    "fsdd",
    "fsdd/residual_1d",
    "trec6",
    "trec6/masked_bilstm",
    "trec6/transformer",
)

#: Data sets to the numbers of labels of a curve from few to many.
LABEL_CURVES = dict.fromkeys(
    ("digits", "abalone", "trec6_sentences", "sst2_sentences"),
    (50, 100, 200, 500, 1000),
)

#: Numbers of validation samples from which methods are chosen, on these data sets.
VALIDATED = (50, 100, 300)
_CHOOSING = tuple(f"{name}~{size}" for size in VALIDATED for name in LABEL_CURVES)

#: Studies by name, which is also the name of the file. Text with the whole training set
#: (`trec6_full`, `sst2_full`) takes minutes per run, so `results` runs it only if
#: `--datasets` asks for it.
_UNLABELED = (
    *sum(FEW_LABELS, ()),
    "trec6/masked_bilstm+150",
    *(f"{name}+{size}" for name, sizes in LABEL_CURVES.items() for size in sizes),
)
_UNLABELED = tuple(dict.fromkeys(_UNLABELED))
STUDIES = {
    "results": Study(ALL, SMALL, "accuracy", False),
    "imbalance": Study(
        IMBALANCE,
        (
            "htru2",
            "trec6",
            "trec6_sentences",
            "fsdd_tail",
            "mnist_tail",
            "cifar10_tail",
        ),
        "balanced_accuracy",
        False,
    ),
    "targets": Study(TARGETS, _NAMES_OF_OTHER_TARGETS, None, False),
    "choosing": Study(CHOOSING, _CHOOSING, "accuracy", False),
    "encoders": Study(ENCODERS, sum(OF_ENCODERS.values(), ()), "accuracy", False),
    "unlabeled": Study(UNLABELED, _UNLABELED, "accuracy", False),
    "unlabeled_tuning": Study(UNLABELED, _UNLABELED, "accuracy", True),
    "tuning": Study(CANDIDATES, _FOR_TUNING, "accuracy", True),
}


def metric_of(study, dataset):
    """Returns the metric that chooses settings on a data set."""
    kinds = (metric for metric, names in OTHER_TARGETS.values() if dataset in names)
    return STUDIES[study].metric or next(kinds)
