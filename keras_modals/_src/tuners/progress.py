"""One line that says how a search goes."""

import time

from keras_modals._src.status_line import StatusLine, format_duration


class Progress:
    """Prints it, in a terminal or notebook over the last one.

    In a log file there is one line per generation.
    """

    def __init__(self, total, stream=None):
        self.total = total
        self._line = StatusLine(stream)
        self._start = time.monotonic()
        self._done_before = None

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
        self._line.write(line, ends=member == population)
