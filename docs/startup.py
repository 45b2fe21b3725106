"""Runs before the code of each page. Turns off log lines of other libraries, some of
which write them to the standard output."""

import logging

logging.disable(logging.WARNING)
