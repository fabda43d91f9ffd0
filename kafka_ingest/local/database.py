"""A real MySQL or MariaDB server on loopback."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from kafka_ingest.local.database_credentials import APPLICATION_USER, Credentials, credentials_of
from kafka_ingest.local.database_program import DatabaseProgram, find_database_program
from kafka_ingest.local.database_server import APPLICATION_DATABASE, CLIENT_FILE, LocalDatabaseServer
from kafka_ingest.local.database_setup import (
    account_statements,
    database_statements,
    initialise,
)
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, silent, write_private
from kafka_ingest.local.ports import LOOPBACK

CONNECT_TIMEOUT_SECONDS = 5
PROBE_TABLE = "_kafka_ingest_ready"
# MariaDB's client wants a certificate of a known authority from version 11.4 on; this server has made its own, on loopback.
CLIENT_OPTIONS = f"""[client]
host={LOOPBACK}
port={{port}}
user={{user}}
password="{{password}}"

[mysql]
database={APPLICATION_DATABASE}
default-character-set=utf8mb4

[client-mariadb]
ssl-verify-server-cert=0
"""


class LocalDatabase(LocalDatabaseServer):
    """A server on 127.0.0.1 whose data live in `data_dir`; its log is `data_dir/mysql.log` or `mariadb.log`."""

    kind: str
    """`mysql` or `mariadb`."""
    _program: DatabaseProgram
    _credentials: Credentials

    @classmethod
    def start(
        cls,
        kind: str,
        data_dir: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> LocalDatabase:
        """Start a server on `data_dir`, or attach to the one that already runs there; returns when it passed its probe.

        `port`: without one, the folder's last port if it is free, else a new one. `options` are server options without
        their dashes ({"local-infile": "OFF"}) and win over the ones set here. LocalServerError when the server cannot
        be had, ends or fails its probe (with the end of its log), or one with other options runs there.
        """
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        program = find_database_program(kind, progress)
        settings = {name.replace("_", "-"): value for name, value in (options or {}).items()}
        database = cls(data_dir, name=kind, version=program.version, settings=settings)
        database.kind = kind
        database.title = {"mysql": "MySQL", "mariadb": "MariaDB"}[kind]
        database._program = program
        database._credentials = credentials_of(data_dir)
        database._bring_up(port, progress)
        return database

    @property
    def origin(self) -> str:
        """Where the program comes from, for people."""
        program = self._program
        return "unpacked from the distribution's packages" if program.base else f"{program.command[0]} found"

    def url(self, database: str = APPLICATION_DATABASE) -> str:
        """The SQLAlchemy URL of a database for the application user, password included."""
        account = f"{APPLICATION_USER}:{self._credentials.application}"  # URL-safe by how it is made
        return f"mysql+pymysql://{account}@{LOOPBACK}:{self.port}/{database}?charset=utf8mb4"

    def client_command(self) -> str:
        """`mysql` with an option file, which MySQL's client and MariaDB's read."""
        path = self.data_dir / CLIENT_FILE
        write_private(
            path, CLIENT_OPTIONS.format(port=self.port, user=APPLICATION_USER, password=self._credentials.application)
        )
        return f"mysql --defaults-extra-file={shlex.quote(str(path))}"

    def run_as_administrator(self, statement: str) -> None:
        """Run one statement as the server's administrator: what the application's user may not do."""
        with closing(self._connect("root", self._credentials.root, None)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def create_database(self, name: str) -> None:
        """Make a database, if it is missing, and give the application user every right on it."""
        if not name or len(name) > 64 or any(character in name for character in "`\\/.\0"):
            raise LocalServerError(f"{name!r} is no name for a database here: up to 64 characters without ` \\ / .")
        connection = self._connect("root", self._credentials.root, None)
        try:
            with connection.cursor() as cursor:
                for statement in database_statements(name):
                    cursor.execute(statement)
        finally:
            connection.close()

    def _launch(self) -> int:
        folder = self.data_dir / "data"
        if not folder.is_dir():
            initialise(self._program, folder, self._options())
        # Left by a SIGKILL; the server would refuse to start if its old pid belongs to another process by now.
        (folder / "server.sock.lock").unlink(missing_ok=True)
        init_file = self.data_dir / "init.sql"
        write_private(init_file, account_statements(self._credentials))
        options = [f"--datadir={folder}", f"--port={self.port}", f"--init-file={init_file}"]
        given = [f"--{name}={value}" for name, value in self._settings.items()]
        return self._process.spawn([*self._program.command, *self._options(), *options, *given])

    def _options(self) -> list[str]:
        # Of its own: MariaDB empties it at every start of what looks like its temporary tables, also another server's.
        temporary = self.data_dir / "tmp"
        temporary.mkdir(exist_ok=True)
        options = [
            "--no-defaults",  # must be the first
            *self._program.location_options,
            f"--tmpdir={temporary}",
            f"--bind-address={LOOPBACK}",
            # Relative to the data folder: a socket's path may have 107 bytes only.
            "--socket=server.sock",
            "--skip-name-resolve",
            "--local-infile=ON",
            "--innodb-buffer-pool-size=256M",
            "--character-set-server=utf8mb4",
        ]
        if self.kind == "mysql":
            options += ["--mysqlx=OFF", "--secure-file-priv=NULL"]
        if os.geteuid() == 0:
            options.append("--user=root")  # else the server refuses to run as root
        return options

    def _check_ready(self) -> bool:
        """Sign in as the application user, see that a rolled back insert leaves no row; the init file then goes."""
        try:
            connection = self._connect(APPLICATION_USER, self._credentials.application, APPLICATION_DATABASE)
        except pymysql.err.OperationalError as error:
            if self.running and error.args[0] in (2003, 2013):  # the port is open, the server not quite
                return False
            raise LocalServerError(f"{self.title} on port {self.port} refused its own account: {error}") from error
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                row = cursor.fetchone()
                cursor.execute(f"DROP TABLE IF EXISTS {PROBE_TABLE}")
                cursor.execute(f"CREATE TABLE {PROBE_TABLE} (id INT PRIMARY KEY) ENGINE=InnoDB")
                connection.begin()
                cursor.execute(f"INSERT INTO {PROBE_TABLE} VALUES (1)")  # noqa: S608  # a constant
                connection.rollback()
                cursor.execute(f"SELECT COUNT(*) FROM {PROBE_TABLE}")  # noqa: S608  # a constant
                count = cursor.fetchone()
                cursor.execute(f"DROP TABLE {PROBE_TABLE}")
        finally:
            connection.close()
        if row is None or count is None or count[0] != 0:
            raise LocalServerError(f"{self.title} on port {self.port} kept a row that was rolled back")
        self.version = str(row[0])
        (self.data_dir / "init.sql").unlink(missing_ok=True)
        return True

    def _connect(self, user: str, password: str, database: str | None) -> Connection[Cursor]:
        return pymysql.connect(
            host=LOOPBACK,
            port=self.port,
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
