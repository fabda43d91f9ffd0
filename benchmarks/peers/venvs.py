"""A virtual environment per peer, so that no peer's package comes near the product's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.result import NotMeasured
from kafka_ingest.local.files import build_once

INSTALL_TIMEOUT_SECONDS = 600


def venv_python(name: str) -> Path:
    """The interpreter of the venv with `requirements-NAME.txt`, built in the cache folder on first use.

    Made anew when the requirements or this Python's version change. Only its interpreter may be run: the other scripts in
    it name the folder they were built in.

    Raises NotMeasured where pip cannot install the requirements.
    """
    requirements = Path(__file__).with_name(f"requirements-{name}.txt")
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:10]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = build_once(f"peer-{name}-py{version}-{digest}", lambda partial: _build(name, requirements, partial))
    return folder / "bin" / "python"


def _build(name: str, requirements: Path, folder: Path) -> None:
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    python = str(folder / "bin" / "python")
    _run(name, [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)])


def _run(name: str, command: list[str]) -> None:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"{name}: pip did not finish in {INSTALL_TIMEOUT_SECONDS} s") from error
    if answer.returncode:
        lines = (answer.stdout + answer.stderr).strip().splitlines()[-10:]
        raise NotMeasured(f"{name}: its packages cannot be installed on this Python:\n" + "\n".join(lines))
