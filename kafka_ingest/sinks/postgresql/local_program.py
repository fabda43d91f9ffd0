"""Finding the programs of a PostgreSQL server: on PATH, where Debian puts them, else unpacked from its packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.local.debian import unpacked
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress

PACKAGE = r"postgresql-[0-9.]+"
MINIMUM_VERSION = 15
_INSTALLED = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class PostgreSQLProgram:
    """How to run `postgres` and `initdb`."""

    version: str
    """As the program tells it, such as '15.18'."""
    server: tuple[str, ...]
    """`postgres`, behind its own loader when it was unpacked."""
    initdb: tuple[str, ...]
    is_unpacked: bool


def find_postgresql(progress: Progress) -> PostgreSQLProgram:
    """The installed server, the newest where there are several, else one unpacked into the cache. Raises LocalServerError."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(_INSTALLED.glob("*/bin"), key=lambda found: _number(found.parent.name), reverse=True)
    for folder in folders:
        found = _program_in(folder, (), is_unpacked=False)
        if found is not None:
            return found
    root = unpacked(PACKAGE, "postgresql", progress) / "root"
    bins = sorted(root.glob("usr/lib/postgresql/*/bin"))
    unpacked_program = _program_in(bins[-1], _own_loader(root), is_unpacked=True) if bins else None
    if unpacked_program is None:
        raise LocalServerError(f"the unpacked PostgreSQL in {root} does not run: delete that folder and try again")
    return unpacked_program


def _program_in(folder: Path, loader: tuple[str, ...], *, is_unpacked: bool) -> PostgreSQLProgram | None:
    server, initdb = (*loader, str(folder / "postgres")), (*loader, str(folder / "initdb"))
    if not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run([*server, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"PostgreSQL\) (\d+)\.(\d+)", answer.stdout)
    if answer.returncode != 0 or found is None or int(found[1]) < MINIMUM_VERSION:
        return None
    return PostgreSQLProgram(f"{found[1]}.{found[2]}", server, initdb, is_unpacked)


def _number(name: str) -> float:
    return float(name) if re.fullmatch(r"\d+(\.\d+)?", name) else 0.0


def _own_loader(root: Path) -> tuple[str, ...]:
    """The unpacked C library's loader and its library path: the machine's own C library may be older."""
    loaders = [path for path in sorted(root.glob("**/ld-linux*.so.*")) if path.is_file() and not path.is_symlink()]
    if not loaders:
        raise LocalServerError(f"no ld-linux in {root}: delete that folder and try again")
    folders = {path.parent for path in root.glob("**/*.so*") if re.fullmatch(r"\S+-linux-gnu\S*", path.parent.name)}
    return (str(loaders[0]), "--library-path", os.pathsep.join(str(folder) for folder in sorted(folders)))
