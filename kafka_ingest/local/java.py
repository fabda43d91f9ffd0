"""Apache Kafka's jars, resolved by the machine's own Maven, and the Java that runs them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, build_once

JAVA_MINIMUM = 17
MAVEN_TIMEOUT_SECONDS = 900
INSTALL_JAVA = "`apt-get install default-jre-headless maven`"


def find_java() -> tuple[str, int]:
    """The java program ($JAVA_HOME first, then PATH) and its major version; LocalServerError without Java 17+."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise LocalServerError(f"no `java` on PATH: Apache Kafka needs Java {JAVA_MINIMUM}+; {INSTALL_JAVA}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if found is None:
        raise LocalServerError(f"`{java} -version` did not tell a version: {(answer.stderr or answer.stdout).strip()}")
    major = int(found[1])
    if major < JAVA_MINIMUM:
        raise LocalServerError(f"{java} is Java {major}: Apache Kafka needs Java {JAVA_MINIMUM}+; {INSTALL_JAVA}")
    return java, major


def kafka_version() -> str:
    """The Apache Kafka version that the committed pom pins."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", _pom())
    if found is None:
        raise LocalServerError("kafka-pom.xml in this installation names no kafka.version: reinstall kafka-ingest")
    return found[1]


def kafka_jars(progress: Progress) -> Path:
    """The folder with Kafka's jars and their runtime dependencies, downloaded once (about 80 MB).

    LocalServerError when it is not in the cache and Maven is missing or fails.
    """
    pom = _pom()
    digest = hashlib.sha256(pom.encode()).hexdigest()[:10]
    return build_once(
        f"kafka-{kafka_version()}-{digest}",
        lambda folder: resolve_jars("Apache Kafka", pom, folder, "kafka_2.13-*.jar", progress),
    )


def _pom() -> str:
    return files("kafka_ingest.local").joinpath("kafka-pom.xml").read_text()


def resolve_jars(what: str, pom: str, folder: Path, expected: str, progress: Progress) -> None:
    """The runtime dependencies of a pom of this Kafka version into the folder, by Maven; raises as `run_maven`."""
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    run_maven(f"{what} {kafka_version()}", pom, folder, goal, expected, progress)


def run_maven(what: str, pom: str, folder: Path, goal: list[str], expected: str, progress: Progress) -> None:
    """Have Maven put what a pom names into the folder.

    LocalServerError when Maven is missing or fails, or no file is named like `expected` then.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalServerError(f"no `mvn` on PATH, which downloads {what}: {INSTALL_JAVA}")
    progress(f"Downloading {what} with Maven (once; kept in {folder.parent})")
    pom_file = folder / "pom.xml"
    pom_file.write_text(pom)
    try:
        answer = subprocess.run(
            [maven, "-B", "-q", "-C", "-f", str(pom_file), *goal],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=MAVEN_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(f"Maven did not finish in {MAVEN_TIMEOUT_SECONDS} s; is its repository slow?") from error
    if answer.returncode != 0 or not any(folder.glob(expected)):
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        raise LocalServerError(f"Maven could not download {what}:\n" + "\n".join(lines[:10]))
