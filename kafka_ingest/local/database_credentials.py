"""The accounts of a local database server, and their passwords."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.local.files import read_json, write_private_json

APPLICATION_USER = "kafka_ingest"


@dataclass(frozen=True)
class Credentials:
    """The passwords of one data folder, kept in `credentials.json` (0600)."""

    root: str
    application: str


def credentials_of(data_dir: Path) -> Credentials:
    """The folder's passwords, made at random the first time."""
    path = data_dir / "credentials.json"
    values = read_json(path)
    if "root" not in values or "kafka_ingest" not in values:
        values = {"root": secrets.token_urlsafe(24), "kafka_ingest": secrets.token_urlsafe(24)}
        write_private_json(path, values)
    return Credentials(root=str(values["root"]), application=str(values["kafka_ingest"]))
