"""Runs before the code of each page: the log lines of other libraries, which some write
to the standard output, are none of a page's results."""

import logging

logging.disable(logging.WARNING)
