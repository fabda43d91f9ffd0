"""A real PostgreSQL server on loopback."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from kafka_ingest.local.database_credentials import APPLICATION_USER, Credentials, credentials_of
from kafka_ingest.local.database_server import APPLICATION_DATABASE, CLIENT_FILE, LocalDatabaseServer
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, silent, write_private
from kafka_ingest.local.initialiser import initialise_by
from kafka_ingest.local.ports import LOOPBACK
from kafka_ingest.local.process import POLL_SECONDS
from kafka_ingest.processes import PROC, start_ticks
from kafka_ingest.sinks.postgresql.local_account import ServerAccount
from kafka_ingest.sinks.postgresql.local_program import PostgreSQLProgram, find_postgresql

ADMINISTRATOR = "postgres"
CONNECT_TIMEOUT_SECONDS = 5
KILL_TIMEOUT_SECONDS = 30.0
PROBE_TABLE = "_kafka_ingest_ready"
_MOST_NAME_BYTES = 63
"""Of a database: a longer name is cut without a word."""
_STARTING_UP = "57P03"


_MAKING = "making a data folder for PostgreSQL"


class LocalPostgreSQL(LocalDatabaseServer):
    """A server on 127.0.0.1 whose data live in `data_dir`; its log is `data_dir/postgresql.log`.

    What it has committed outlives a SIGKILL (fsync and synchronous_commit stay on). It listens on no socket but the port.
    """

    kind = "postgresql"
    title = "PostgreSQL"
    # Whoever is connected; with SIGTERM it would wait for them (manual, "Shutting Down the Server").
    stop_signal = signal.SIGINT
    _program: PostgreSQLProgram
    _account: ServerAccount
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
    ) -> LocalPostgreSQL:
        """Start a server on `data_dir`, or attach to the one that already runs there; returns when it passed its probe.

        `port`: without one, the folder's last port if it is free, else a new one. `options` are the server's parameters
        ({"max_connections": "20"}) and win over the ones set here. LocalServerError when the server cannot be had, ends or
        fails its probe (with the end of its log), or one with other options runs there.
        """
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        program = find_postgresql(progress)
        settings = {name.replace("-", "_"): value for name, value in (options or {}).items()}
        server = cls(data_dir, name=kind, version=program.version, settings=settings)
        server._program = program
        server._account = ServerAccount.find()
        server._credentials = credentials_of(data_dir)
        server._bring_up(port, progress)
        return server

    @property
    def origin(self) -> str:
        """Where the program comes from, for people."""
        is_unpacked = self._program.is_unpacked
        return "unpacked from the distribution's packages" if is_unpacked else f"{self._program.server[-1]} found"

    def url(self, database: str = APPLICATION_DATABASE) -> str:
        """The SQLAlchemy URL of a database for the application user, password included."""
        account = f"{APPLICATION_USER}:{self._credentials.application}"  # URL-safe by how it is made
        return f"postgresql+psycopg://{account}@{LOOPBACK}:{self.port}/{database}"

    def client_command(self) -> str:
        """`psql` with a service of libpq's."""
        path = self.data_dir / CLIENT_FILE
        service = {
            "host": LOOPBACK,
            "port": self.port,
            "user": APPLICATION_USER,
            "password": self._credentials.application,
            "dbname": APPLICATION_DATABASE,
        }
        lines = (f"{name}={value}" for name, value in service.items())
        write_private(path, "\n".join([f"[{APPLICATION_DATABASE}]", *lines, ""]))
        return f"PGSERVICEFILE={shlex.quote(str(path))} psql service={APPLICATION_DATABASE}"

    def run_as_administrator(self, statement: str) -> None:
        """Run one statement as the server's administrator: what the application's user may not do."""
        with closing(self._connect(ADMINISTRATOR, self._credentials.root, "postgres")) as connection:
            connection.execute(statement.encode())

    def create_database(self, name: str) -> None:
        """Make a database, if it is missing, that belongs to the application user."""
        if not name or len(name.encode()) > _MOST_NAME_BYTES or "\0" in name:
            raise LocalServerError(f"{name!r} is no name for a database here: 1 to {_MOST_NAME_BYTES} bytes, no U+0000")
        with closing(self._connect(ADMINISTRATOR, self._credentials.root, "postgres")) as connection:
            with suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            owner = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            connection.execute(owner.format(sql.Identifier(name), sql.Identifier(APPLICATION_USER)))

    def kill(self) -> None:
        """End it and its backends as a power cut would (SIGKILL)."""
        pid = self._process.live_pid()
        backends = {} if pid is None else _children(pid)
        super().kill()
        for backend in backends:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGKILL)
        deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
        while any(start_ticks(backend) == start for backend, start in backends.items()):
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{self.title}: backends of pid {pid} did not end within {KILL_TIMEOUT_SECONDS:.0f} s"
                )
            time.sleep(POLL_SECONDS)

    def _launch(self) -> int:
        folder = self.data_dir / "data"
        if not folder.is_dir():
            self._initialise(folder)
        self._forget_stale_pid(folder)
        parameters = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            # Names the folder in the command line, by which this process is known to be ours; the server makes nothing of it.
            "kafka_ingest.folder": str(self.data_dir),
            **self._settings,
        }
        options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
        return self._process.spawn(self._account.command(folder, self._program.server, *options))

    def _initialise(self, folder: Path) -> None:
        """Fill the data folder, with the accounts and the application's database; a half-filled one is replaced."""
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._account.make_folder(partial)
        # The default collation is one of a language, as in production: nothing of ours may depend on it.
        initdb = self._account.command(
            partial,
            self._program.initdb,
            *(f"--username={ADMINISTRATOR}", "--auth-host=scram-sha-256", "--auth-local=reject", "--no-instructions"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US"),
        )
        initialise_by(initdb, "", what=_MAKING)
        root, application = self._credentials.root, self._credentials.application
        statements = (
            f"ALTER ROLE {ADMINISTRATOR} PASSWORD '{root}'",
            f"CREATE ROLE {APPLICATION_USER} LOGIN PASSWORD '{application}'",
            f"CREATE DATABASE {APPLICATION_DATABASE} OWNER {APPLICATION_USER}",
        )
        # One a line; the server that runs alone ends with its input, and with an error of its own at the first that fails.
        single = (self._program.server[:-1], self._program.server[-1], "--single")
        program = (*single[0], *single[1:])
        alone = self._account.command(partial, program, "-c", "exit_on_error=on", "postgres")
        initialise_by(alone, "".join(f"{statement}\n" for statement in statements), what=_MAKING)
        partial.rename(folder)

    def _forget_stale_pid(self, folder: Path) -> None:
        """A SIGKILL leaves the server's own pid file, and a server does not start while the process it names is alive, which by
        now may be another one. While that is ours, or gone, the server decides better itself."""
        path = folder / "postmaster.pid"
        try:
            pid = int(path.read_text().splitlines()[0])
            command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ValueError, IndexError):
            return
        if str(self.data_dir) not in command:
            path.unlink()

    def _check_ready(self) -> bool:
        """Sign in as the application user, see that a rolled back insert leaves no row."""
        try:
            connection = self._connect(APPLICATION_USER, self._credentials.application, APPLICATION_DATABASE)
        except psycopg.OperationalError as error:
            # While it starts up it refuses with a code, or is gone in the middle of the answer.
            if self.running and (error.sqlstate == _STARTING_UP or "the database system is" in str(error)):
                return False
            raise LocalServerError(f"{self.title} on port {self.port} refused its own account: {error}") from error
        with closing(connection):
            version = connection.info.parameter_status("server_version") or ""
            table = sql.Identifier(PROBE_TABLE)
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
            connection.execute(sql.SQL("CREATE TABLE {} (id INT PRIMARY KEY)").format(table))
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("INSERT INTO {} VALUES (1)").format(table))
            count = connection.execute(sql.SQL("SELECT COUNT(*) FROM {}").format(table)).fetchone()
            connection.execute(sql.SQL("DROP TABLE {}").format(table))
        if count != (0,):
            raise LocalServerError(f"{self.title} on port {self.port} kept a row that was rolled back")
        self.version = version.split()[0]
        return True

    def _connect(self, user: str, password: str, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=user,
            password=password,
            dbname=database,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )


def _children(parent: int) -> dict[int, int]:
    """Processes of a parent, with when each started, by which it is told from a later one of its number."""
    found = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[int(entry.name)] = int(fields[19])
    return found
