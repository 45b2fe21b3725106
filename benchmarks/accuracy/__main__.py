"""Does it help? Data sets, methods and seeds, with `keras_modals.compare`.

    KERAS_MODALS_DATA=folder python -m benchmarks.accuracy run [--datasets ...]
        [--methods ...] [--seeds 10] [--workers 2]
    python -m benchmarks.accuracy report [--metric accuracy]

Each finished run is written to `benchmarks/accuracy/results.csv`; a second call goes on
where the first stopped, and several may run at once. Every method has the same samples,
and as many validation samples as training samples, by which its setting and its best
epoch are chosen; the test samples only judge, and are the same for every seed.
"""

import argparse
import os
import pathlib

# One thread for each worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.accuracy import report
from benchmarks.accuracy.run import DATASETS, run_all

RESULTS = pathlib.Path(__file__).parent / "results.csv"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--datasets", nargs="+", default=DATASETS)
    command.add_argument("--methods", nargs="+")
    command.add_argument("--seeds", type=int, default=10)
    command.add_argument("--first-seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=os.cpu_count())
    command.add_argument("--path", type=pathlib.Path, default=RESULTS)
    command = commands.add_parser("report")
    command.add_argument("--metric", default="accuracy")
    command.add_argument("--path", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.command == "report":
        report.print_report(arguments.path, arguments.metric)
        return
    first = arguments.first_seed
    run_all(
        arguments.datasets,
        arguments.methods,
        range(first, first + arguments.seeds),
        arguments.workers,
        arguments.path,
    )


if __name__ == "__main__":
    main()
