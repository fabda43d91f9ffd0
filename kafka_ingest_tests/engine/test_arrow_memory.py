"""Which allocator a run's columns come from."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import pyarrow as pa
from kafka_ingest.engine.arrow_memory import use_system_allocator
before = pa.array(["kept"] * 1000)
use_system_allocator()
print(pa.default_memory_pool().backend_name, before[0])
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")],
    ids=["unset", "set"],
)
def test_columns_come_from_the_c_library_unless_a_person_has_chosen(chosen: dict[str, str], expected: str) -> None:
    """In a process of its own: Arrow's allocator is the whole process'."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=chosen, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [expected, "kept"]
