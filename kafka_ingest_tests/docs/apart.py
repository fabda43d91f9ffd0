"""Runs texts of Python, each in a process of its own as if it were the program; this package is loaded once, which takes seconds.

python -m kafka_ingest_tests.docs.apart: a JSON list of texts in, a JSON list out of what each said, or null where it ended well.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from types import ModuleType

import kafka_ingest


def failure_of(text: str) -> str | None:
    """Run it in a fork of this process: what it wrote where it raised anything, otherwise None."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os._exit(_run(text))
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return f"wait status {status}\n{said.read().decode()}" if status else None


def _run(text: str) -> int:
    # SQLAlchemy looks for the names in annotations in the module of the class.
    program = sys.modules["__main__"] = ModuleType("__main__")
    try:
        exec(compile(text, "<block>", "exec"), program.__dict__)  # noqa: S102
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    for public in kafka_ingest.__all__:
        getattr(kafka_ingest, public)  # some are loaded when they are first asked for
    sys.stdout.write(json.dumps([failure_of(text) for text in json.load(sys.stdin)]))
