"""Times triplet mining, value and gradient, and measures its peak memory.

    python benchmarks/mining.py [--batches 64 ...] [--classes 10] [--jit true false]

Every setting runs in a process of its own. Memory is what the process's peak grows by
from before the loss is built until after it ran.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def measure(mining, batch, classes, jit_compile, runs=7):
    import numpy as np
    import tensorflow as tf

    import keras_modals

    rng = np.random.default_rng(0)
    latents = tf.constant(rng.normal(size=(batch, 64)), "float32")
    labels = tf.constant(rng.integers(0, classes, batch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = keras_modals.TripletSelector(mining=mining)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            value = loss(labels, latents)
        return tape.gradient(value, latents)

    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        step(latents).numpy()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return statistics.median(times[2:]) * 1e3, (peak - before) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128, 512, 2048])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--jit", nargs="+", default=["true"], help="true, false")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*json.loads(arguments.one))))
        return
    for jit in arguments.jit:
        print(
            f"{arguments.classes} classes, jit {jit}: ms per step, MiB of peak memory"
        )
        for mining in ("hardest", "random", "semihard", "all"):
            cells = []
            for batch in arguments.batches:
                setting = json.dumps([mining, batch, arguments.classes, jit == "true"])
                process = subprocess.run(
                    [sys.executable, __file__, "--one", setting],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                milliseconds, memory = json.loads(process.stdout.split("\n")[-2])
                cells.append(f"{batch:5}: {milliseconds:8.1f} ms {memory:6.0f} MiB")
            print(f"{mining:10}" + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
