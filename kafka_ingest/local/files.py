"""The download cache, file locks, files only their owner may read, and the ends of logs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Progress = Callable[[str], None]
LOG_TAIL_LINES = 25


def silent(line: str) -> None:
    """The default `progress`: says nothing."""


def cache_folder() -> Path:
    """Where downloaded servers are kept between runs, made if missing; safe to delete while no server runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "kafka_ingest"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if missing); waits for other processes without limit.

    The kernel drops the lock when its holder dies, so a crash never leaves one behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cache folder `name`, filled by `build` if it is not there yet.

    `build` fills a temporary folder that is then renamed, so a folder under its final name is always whole.
    Parallel callers wait for the first one. What `build` raises is passed on and nothing is kept.
    """
    final = cache_folder() / name
    if final.is_dir():
        return final
    with locked(cache_folder() / f"{name}.lock"):
        if final.is_dir():
            return final
        partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache_folder()))
        try:
            build(partial)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return final


def write_private(path: Path, text: str) -> None:
    """Replace `path` at once with `text`, readable by its owner only (0600)."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    partial.replace(path)


def write_private_json(path: Path, values: Mapping[str, object]) -> None:
    """`write_private` for a JSON object."""
    write_private(path, json.dumps(values, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty when the file is missing or is not a JSON object."""
    try:
        values = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def tail_of(log_file: Path) -> str:
    """The last lines of a log, for error messages."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-LOG_TAIL_LINES:])
