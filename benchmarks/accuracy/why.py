"""Why an operation helps or not: how often it changes what a trained head predicts.

    KERAS_MODALS_DATA=folder python -m benchmarks.accuracy.why run [--seeds 3]
    python -m benchmarks.accuracy.why report

Trains the model of each data set without augmentation, but fills the memory as usual.
Then moves the latents of the validation samples by each operation, with the magnitude
that the operation has on its own in `paper.csv`. The report shows the share
of relabeled latents next to the change from training with the operation. Runs are
stored in `why.csv`. A second call resumes where the first stopped.
"""

import argparse
import pathlib

import keras

from benchmarks.accuracy import stored
from keras_modals import augment
from keras_modals._src.evaluation.methods import STILL
from keras_modals._src.evaluation.runs import RunFile, read_runs
from keras_modals._src.session import forget_models
from keras_modals.evaluation import LatentMonitor
from keras_modals.operations import PAPER_OPERATIONS

FOLDER = pathlib.Path(__file__).parent
MAGNITUDE = 0.4


def measure(name, seed):
    from benchmarks.accuracy.problems import problem

    made = problem(name)
    parts = made.load(seed)
    keras.utils.set_random_seed(seed)
    model = augment(made.build_fn(), seed=seed, **STILL)
    monitor = LatentMonitor(
        *parts["validation"], dict.fromkeys(PAPER_OPERATIONS, MAGNITUDE)
    )
    settings = {"epochs": made.epochs, "batch_size": made.batch_size, "verbose": 0}
    model.fit(*parts["train"], **settings)
    # Monitor one more epoch only. Monitoring each would take longer than training.
    settings.update(epochs=made.epochs + 1, initial_epoch=made.epochs)
    logs = model.fit(*parts["train"], callbacks=[monitor], **settings).history
    return {
        ("validation", f"relabeled_{name}"): logs[f"val_relabeled_{name}"][-1]
        for name in PAPER_OPERATIONS
    }


def run(datasets, seeds):
    file = RunFile(FOLDER / "why.csv")
    last = ("validation", f"relabeled_{PAPER_OPERATIONS[-1]}")
    for seed in seeds:
        for name in datasets:
            if ("still", seed) not in file.finished(name, [last]):
                file.append(name, "still", seed, measure(name, seed))
                print(f"{name}, seed {seed}", flush=True)
            forget_models()


def table():
    """Returns a Markdown table with the share of relabeled latents in %, and the change
    in test accuracy in points with its standard error, by data set and operation."""
    shares = read_runs(FOLDER / "why.csv").groupby(["dataset", "metric"])["value"]
    shares = 100 * shares.mean()
    changes = stored.read(FOLDER / "paper.csv").summary()
    rows = [["data", *map(_words, PAPER_OPERATIONS)]]
    rows.append(["---"] * len(rows[0]))
    for name in dict.fromkeys(shares.index.get_level_values("dataset")):
        cells = []
        for operation in PAPER_OPERATIONS:
            cell = f"{shares[name, f'relabeled_{operation}']:.0f}%"
            if (name, _words(operation)) in changes.index:
                row = changes.loc[name, _words(operation)]
                cell += f", {row['change']:+z.1f} ({row['standard_error']:.1f})"
            cells.append(cell)
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _words(operation):
    return operation.replace("_", " ")


def main():
    from benchmarks.accuracy.studies import SMALL

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--datasets", nargs="+", default=SMALL)
    command.add_argument("--seeds", type=int, default=3)
    commands.add_parser("report")
    arguments = parser.parse_args()
    if arguments.command == "report":
        print(table())
    else:
        run(arguments.datasets, range(arguments.seeds))


if __name__ == "__main__":
    main()
