import sys
import time

import keras


class Progress:
    """How far a comparison is: a bar, or a line for each run."""

    def __init__(self, total, verbose):
        self.total = total
        self.verbose = 1 if verbose == "auto" else verbose
        self.done = 0
        self.start = time.monotonic()
        if self.verbose == 1 and total:
            self.bar = keras.utils.Progbar(total, unit_name="run")

    def advance(self, line):
        self.done += 1
        if self.verbose == 1:
            self.bar.update(self.done)
        elif self.verbose == 2:
            each = (time.monotonic() - self.start) / self.done
            left = each * (self.total - self.done) / 60
            text = f"{self.done}/{self.total} {line}, {left:.0f} min left"
            encoding = sys.stdout.encoding or "utf-8"
            # A name may have what a terminal cannot show.
            print(text.encode(encoding, "replace").decode(encoding), flush=True)
