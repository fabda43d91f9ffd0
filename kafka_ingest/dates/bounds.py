"""The instants a date column holds: the years 1000 to 9999 (MySQL manual, "The DATE, DATETIME, and TIMESTAMP Types").

The other databases hold more, and take no more: a row must mean the same on each.
"""

from __future__ import annotations

import numpy as np

EARLIEST = np.datetime64("1000-01-01T00:00:00", "us")
LATEST = np.datetime64("9999-12-31T23:59:59.999999", "us")

EARLIEST_MICROSECONDS = int(EARLIEST.astype(np.int64))
LATEST_MICROSECONDS = int(LATEST.astype(np.int64))

EARLIEST_MILLISECONDS = EARLIEST_MICROSECONDS // 1000
LATEST_MILLISECONDS = LATEST_MICROSECONDS // 1000
