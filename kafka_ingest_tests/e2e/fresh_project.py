"""A project of a user's own: this package's wheel in a fresh environment, beside what `create-dagster` makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class FreshEnvironment:
    """A virtual environment that holds the wheel and nothing of the clone."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *packages: str, extras: str = "", constraints: Path | None = None) -> FreshEnvironment:
        """Build the wheel and install it with its dependencies, and further packages, from the package registry.

        constraints: a file of versions; the newest that are allowed where there is none.
        """
        wheel = _build_wheel(folder)
        made = cls(folder / "venv")
        run([sys.executable, "-m", "venv", str(made.folder)])
        versions = [] if constraints is None else ["-c", str(constraints)]
        run([made.python, "-m", "pip", "install", "-q", "--no-compile", *versions, f"{wheel}{extras}", *packages])
        return made

    @property
    def python(self) -> str:
        """Its interpreter."""
        return self.command("python")

    def command(self, name: str) -> str:
        """A command that is installed in it."""
        return str(self.folder / "bin" / name)


def _build_wheel(folder: Path) -> Path:
    # Of a copy: a build leaves files beside what it builds, takes in those that an older one left, and may not be alone.
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(_REPOSITORY / name, source)
    shutil.copytree(_REPOSITORY / "kafka_ingest", source / "kafka_ingest", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels")]
    run([sys.executable, "-m", "pip", "wheel", *options, str(source)])
    (wheel,) = (folder / "wheels").glob("kafka_ingest-*.whl")
    return wheel


def run(
    command: list[str], *, cwd: Path | None = None, environ: Mapping[str, str] | None = None, exit_code: int = 0
) -> str:
    """What the command printed; one that ends with another code fails the test with it."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == exit_code, f"{' '.join(command)}\n{done.stdout[-6_000:]}"
    return done.stdout
