"""Finding the program of a MySQL or MariaDB server: on PATH, else unpacked from the distribution's packages."""

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

PROGRAMS = {"mysql": ("mysqld",), "mariadb": ("mariadbd", "mysqld")}
PACKAGES = {"mysql": r"mysql-server-core(-[0-9.]+)?", "mariadb": r"mariadb-server-core"}
MYSQL_MINIMUM = 8


@dataclass(frozen=True)
class DatabaseProgram:
    """How to run one server program."""

    kind: str
    version: str
    """As the program tells it, such as '9.7.4-2' or '10.11.18-MariaDB'."""
    command: tuple[str, ...]
    """The program, behind its own loader when it was unpacked; the first option goes right after it."""
    base: Path | None
    """The `usr` folder it was unpacked to; None for a program that was installed."""

    @property
    def location_options(self) -> list[str]:
        """Where an unpacked server finds its files; an installed one knows."""
        if self.base is None:
            return []
        return [
            f"--basedir={self.base}",
            f"--lc-messages-dir={self.base / 'share' / 'mysql'}",
            f"--plugin-dir={self.base / 'lib' / 'mysql' / 'plugin'}",
        ]

    @property
    def share_folders(self) -> list[Path]:
        """Where MariaDB's bootstrap SQL may be."""
        bases = [self.base] if self.base else [Path(self.command[-1]).resolve().parent.parent, Path("/usr")]
        return [base / "share" / name for base in bases for name in ("mysql", "mariadb")]


def find_database_program(kind: str, progress: Progress) -> DatabaseProgram:
    """The installed server of this kind, else one unpacked into the cache; LocalServerError when neither can be had."""
    if kind not in PROGRAMS:
        raise LocalServerError(f"kind must be one of {', '.join(PROGRAMS)}, not {kind!r}")
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in PROGRAMS[kind]:
        found = shutil.which(name, path=path)
        if found and (version := program_version(kind, (found,))):
            return DatabaseProgram(kind, version, (found,), None)

    root = unpacked(PACKAGES[kind], kind, progress) / "root"
    command = (*_own_loader(root), str(root / "usr" / "sbin" / PROGRAMS[kind][0]))
    unpacked_version = program_version(kind, command)
    if unpacked_version is None:
        raise LocalServerError(f"the unpacked {kind} in {root} does not run: delete that folder and try again")
    return DatabaseProgram(kind, unpacked_version, command, root / "usr")


def program_version(kind: str, command: tuple[str, ...]) -> str | None:
    """What `--version` says; None when the program is of the other kind, older than MySQL 8, or does not run."""
    try:
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bVer (\d+)\.(\S+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        return None
    is_mariadb = "mariadb" in answer.stdout.lower()
    if (kind == "mariadb") != is_mariadb or (kind == "mysql" and int(found[1]) < MYSQL_MINIMUM):
        return None
    return f"{found[1]}.{found[2]}"


def _own_loader(root: Path) -> list[str]:
    """The unpacked C library's loader and its library path: the machine's own C library may be older.

    Links are left out: `/lib64/ld-linux…` inside a package points to the machine's loader.
    """
    loaders = [path for path in sorted(root.glob("**/ld-linux*.so.*")) if path.is_file() and not path.is_symlink()]
    if not loaders:
        raise LocalServerError(f"no ld-linux in {root}: delete that folder and try again")
    folders = {path.parent for path in root.glob("**/*.so*") if re.fullmatch(r"\S+-linux-gnu\S*", path.parent.name)}
    return [str(loaders[0]), "--library-path", ":".join(str(folder) for folder in sorted(folders))]
