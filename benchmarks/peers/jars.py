"""What the JVM peers run on: the machine's Java, and jars that its own Maven resolves."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.peers.result import NotMeasured
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import build_once, silent
from kafka_ingest.local.java import find_java, run_maven


def java_and_jars(peer: str, expected: str) -> tuple[str, Path]:
    """The `java` program, and the folder with what `PEER-pom.xml` names and needs at run time, in the cache folder, downloaded on
    first use.

    Raises NotMeasured where Java or Maven is missing, Maven fails, or no file is named like `expected` then.
    """
    try:
        java, _ = find_java()
        return java, _maven_jars(peer, expected)
    except LocalServerError as error:
        raise NotMeasured(f"{peer}: {error}") from error


def _maven_jars(peer: str, expected: str) -> Path:
    pom = Path(__file__).with_name(f"{peer}-pom.xml").read_text()
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    return build_once(
        f"{peer}-{hashlib.sha256(pom.encode()).hexdigest()[:10]}",
        lambda folder: run_maven(peer, pom, folder, [*goal, f"-DoutputDirectory={folder}"], expected, silent),
    )
