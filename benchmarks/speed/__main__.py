"""Benchmarks speed: prints one table of ratios.

    [KERAS_BACKEND=jax] python -m benchmarks.speed [--parts steps ...] [--quick]
    [--write FILE]

The sides of a ratio are timed in turn in one process. Each part has its own process.
Batches have 128 samples unless stated otherwise. With `--quick`, this script wrote
`benchmarks/speed/tensorflow.md` on two cores, and `jax.md` and `torch.md` on one. On
one core, TensorFlow's steps take multiples of 1.7 ms.
"""

import argparse
import multiprocessing
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.speed.timing import run_part

PARTS = ("steps", "growth", "mining", "population", "one_run", "imports")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    parser.add_argument("--write", type=pathlib.Path, help="a file for the table")
    arguments = parser.parse_args()
    lines = ["| what | value |", "|---|---|"]
    print(*lines, sep="\n", flush=True)
    tasks = [(part, arguments.quick) for part in arguments.parts]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for rows in pool.imap(run_part, tasks):
            new = [f"| {what} | {value} |" for what, value in rows]
            for line in new:
                print(line, flush=True)
            lines += new
            if arguments.write:
                arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
