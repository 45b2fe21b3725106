"""A status line for long calls."""

import contextlib
import shutil
import sys

#: Columns of a printed line of a table.
WIDTH = 88


class StatusLine:
    """Prints a status line, overwriting the last one in a terminal or notebook.

    Args:
        stream: The stream to write to; `None` for standard output.
    """

    def __init__(self, stream=None):
        self._stream = stream
        self._width = 0

    def write(self, line, ends):
        """Shows a line. A log file receives only lines with `ends` set."""
        stream = self._stream or sys.stdout
        # A closed terminal must not end a search.
        with contextlib.suppress(OSError, ValueError):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            # A name may contain characters that the terminal cannot show.
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
