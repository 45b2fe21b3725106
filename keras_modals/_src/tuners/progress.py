"""The progress line of a search."""

import time

from keras_modals._src.status_line import StatusLine, format_duration


class Progress:
    """Prints the progress of a search.

    A terminal or notebook shows one line that is updated; a log file gets one line for
    each generation.
    """

    def __init__(self, total, stream=None):
        self.total = total
        self._line = StatusLine(stream)
        self._start = time.monotonic()
        self._done_before = None

    def show(self, done, generation, generations, member, population, best):
        """Shows the progress after `done` trials.

        The last one is the `member`-th of `generation`, both counted from 1. `best` is
        a string.
        """
        if self._done_before is None:
            # In a resumed search, do not count the trials before.
            self._done_before = done - 1
        seconds = (time.monotonic() - self._start) / (done - self._done_before)
        left = format_duration(seconds * (self.total - done))
        line = (
            f"generation {generation}/{generations}, member {member}/{population}, "
            f"{best}, {left} left"
        )
        self._line.write(line, ends=member == population)
