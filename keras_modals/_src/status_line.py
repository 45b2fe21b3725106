"""One line that says how a long call goes."""

import contextlib
import shutil
import sys


class StatusLine:
    """Prints it, in a terminal or notebook over the last one.

    Args:
        stream: Where to; `None` for the standard output.
    """

    def __init__(self, stream=None):
        self._stream = stream
        self._width = 0

    def write(self, line, ends):
        """Shows a line. In a log file there are only those that end something."""
        stream = self._stream or sys.stdout
        # A closed terminal is no reason to end a search.
        with contextlib.suppress(OSError, ValueError):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            # A name may have what a terminal cannot show.
            line = line.encode(encoding, "replace").decode(encoding)
            if stream.isatty() or "ipykernel" in sys.modules:
                line = line[: shutil.get_terminal_size((100, 24)).columns - 1]
                end = "\n" if ends else ""
                stream.write("\r" + line.ljust(self._width) + end)
                self._width = 0 if ends else len(line)
            elif ends:
                stream.write(line + "\n")
            stream.flush()


def format_duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
