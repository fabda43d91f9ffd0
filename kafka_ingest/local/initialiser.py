"""Running the program that fills an empty data folder of a database server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from kafka_ingest.local.errors import LocalServerError

INITIALISE_TIMEOUT_SECONDS = 300


def initialise_by(command: Sequence[str], stdin: str, *, what: str) -> None:
    """Run it to its end. Raises LocalServerError, saying that `what` failed, with the last lines of its own words."""
    answer = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=INITIALISE_TIMEOUT_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )
    if answer.returncode != 0:
        last = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-15:])
        raise LocalServerError(f"{what} failed:\n{last}")
