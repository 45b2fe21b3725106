"""Benchmarks accuracy: methods on data sets and seeds, with `keras_modals.compare`.

    KERAS_MODALS_DATA=folder python -m benchmarks.accuracy run [--study results]
        [--datasets ...] [--methods ...] [--seeds 10] [--workers 2] [--path file]
    python -m benchmarks.accuracy report [--study results] [--metric accuracy]
        [--path file]

Writes the raw runs to `benchmarks/cache`, and the runs that validation chose to
`benchmarks/accuracy/results.csv`, or to the file of another study. A second call
resumes where the first stopped. With `--path`, writes only the raw runs, to that file.

All methods use the same samples. The validation samples choose the setting and the best
epoch. There are as many as training samples, or at least 100 if available. The test
samples are used only for scores, and are the same for every seed.

`KERAS_BACKEND=jax` is fastest from the second seed on, since `benchmarks/cache` stores
what it compiles. For images, `torch` is fastest.

`name/transformer` is a data set with another encoder, `name:0.5` with half of its
training samples, `name@180` with another number of epochs, and `name~50` with 50
validation samples.
"""

import argparse
import os
import pathlib

# One thread per worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# All seeds, and many settings, compile to the same steps.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parents[1] / "cache" / "jax"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from benchmarks.accuracy import report
from benchmarks.accuracy.run import run_all
from benchmarks.accuracy.studies import STUDIES

FOLDER = pathlib.Path(__file__).parent
CACHE = FOLDER.parent / "cache"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--datasets", nargs="+")
    command.add_argument("--methods", nargs="+")
    command.add_argument("--seeds", type=int, default=10)
    command.add_argument("--first-seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=os.cpu_count())
    _add_file(command)
    command = commands.add_parser("report")
    command.add_argument("--metric")
    _add_file(command)
    arguments = parser.parse_args()
    study = STUDIES[arguments.study]
    results = FOLDER / f"{arguments.study}.csv"
    if arguments.command == "report":
        metric = arguments.metric or study.metric
        path = arguments.path or results
        report.print_report(path, metric)
        return
    methods = arguments.methods or list(study.methods)
    unknown = [name for name in methods if name not in study.methods]
    if unknown:
        parser.error(f"expected methods among {list(study.methods)}, not {unknown}")
    first = arguments.first_seed
    run_all(
        arguments.study,
        arguments.datasets or study.datasets,
        methods,
        range(first, first + arguments.seeds),
        arguments.workers,
        arguments.path or CACHE / f"{arguments.study}.csv",
        None if arguments.path else results,
    )


def _add_file(command):
    command.add_argument("--study", default="results", choices=list(STUDIES))
    command.add_argument("--path", type=pathlib.Path, help="file of raw runs")


if __name__ == "__main__":
    main()
