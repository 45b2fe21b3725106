"""Times importing the package after importing Keras, in fresh processes."""

import statistics
import subprocess
import sys

_CODE = """
import time, keras
start = time.perf_counter()
import keras_modals
print(time.perf_counter() - start)
"""


def rows(quick):
    times = [
        float(subprocess.check_output([sys.executable, "-c", _CODE], text=True))
        for _ in range(3 if quick else 9)
    ]
    median = 1e3 * statistics.median(times)
    yield "import keras_modals after import keras", f"{median:.0f} ms"
