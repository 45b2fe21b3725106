"""One line that says how a search goes."""

import contextlib
import sys
import time


class Progress:
    """Prints it, in a terminal or notebook over the last one.

    In a log file there is one line per generation.
    """

    def __init__(self, total, stream=None):
        self.total = total
        self._stream = stream
        self._start = time.monotonic()
        self._done_before = None
        self._width = 0

    def show(self, done, generation, generations, member, population, best):
        """Shows that `done` trials are done, the last one the `member`-th of its
        generation, both counted from 1. `best` is a text."""
        if self._done_before is None:
            # Of a search that goes on, what was done before took none of our time.
            self._done_before = done - 1
        seconds = (time.monotonic() - self._start) / (done - self._done_before)
        left = format_duration(seconds * (self.total - done))
        line = (
            f"generation {generation}/{generations}, member {member}/{population}, "
            f"{best}, {left} left"
        )
        # A closed terminal is no reason to end a search.
        with contextlib.suppress(OSError, ValueError):
            self._write(line, ends=member == population)

    def _write(self, line, ends):
        stream = self._stream or sys.stdout
        if stream.isatty() or "ipykernel" in sys.modules:
            stream.write("\r" + line.ljust(self._width) + ("\n" if ends else ""))
            self._width = 0 if ends else len(line)
            stream.flush()
        elif ends:
            stream.write(line + "\n")
            stream.flush()


def format_duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
