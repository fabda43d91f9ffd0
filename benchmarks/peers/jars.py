"""The JVM peers' jars, resolved by the machine's own Maven."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kafka_ingest.local.files import build_once, silent
from kafka_ingest.local.java import run_maven


def maven_jars(peer: str, expected: str) -> Path:
    """The folder with what `PEER-pom.xml` names and needs at run time, in the cache folder, downloaded on first use.

    Raises LocalServerError where Maven is missing or fails, or no file is named like `expected` then.
    """
    pom = Path(__file__).with_name(f"{peer}-pom.xml").read_text()
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    return build_once(
        f"{peer}-{hashlib.sha256(pom.encode()).hexdigest()[:10]}",
        lambda folder: run_maven(peer, pom, folder, [*goal, f"-DoutputDirectory={folder}"], expected, silent),
    )
