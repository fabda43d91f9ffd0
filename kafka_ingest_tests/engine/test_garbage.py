"""What Python's collector looks at in a process that loads."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import gc
from kafka_ingest.engine.garbage import leave_out_imports
leave_out_imports()
once = gc.get_freeze_count()
later = []
later.append(later)
leave_out_imports()
del later
print(once > 1_000, gc.get_freeze_count() == once, gc.isenabled(), gc.collect() > 0)
"""


def test_what_is_imported_is_left_out_once_and_later_garbage_is_found() -> None:
    """In a process of its own: the collector is the whole process'."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True"] * 4
