"""What a database server on this machine can do, whichever it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from kafka_ingest.local.files import Progress, silent
from kafka_ingest.local.server import LocalServer

APPLICATION_DATABASE = "kafka_ingest"
CLIENT_FILE = "client.conf"
"""In a server's folder: how its own client signs in."""


class LocalDatabaseServer(LocalServer):
    """A database server on loopback whose data live in one folder, with an application user that owns its databases."""

    kind: str
    """The backend it was started as, such as `mariadb`."""

    @classmethod
    @abstractmethod
    def start(
        cls,
        kind: str,
        data_dir: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> LocalDatabaseServer:
        """Start a server on `data_dir`, or attach to the one that already runs there; returns when it passed its probe.

        kind: one of the backends of its sink. port: without one, the folder's last port if it is free, else a new one.
        options: server options by name. Raises LocalServerError when the server cannot be had, ends or fails its probe, or one
        with other options runs there.
        """

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where the program comes from, for people."""

    @abstractmethod
    def url(self, database: str = APPLICATION_DATABASE) -> str:
        """The SQLAlchemy URL of a database for the application user, password included."""

    def client_command(self) -> str | None:
        """What a person types in a shell to be in the application's database with the server's own client; None: nothing known.

        The password is in a file that only its owner may read, `CLIENT_FILE` in the data folder, which is written here.
        """
        return None

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Make a database, if it is missing, and give the application user every right on it."""

    @abstractmethod
    def run_as_administrator(self, statement: str) -> None:
        """Run one statement as the server's administrator: what the application's user may not do."""
