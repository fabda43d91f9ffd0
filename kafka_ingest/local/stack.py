"""One broker and one database for a demo or a test run, under one folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.database_program import PROGRAMS
from kafka_ingest.local.database_server import CLIENT_FILE, LocalDatabaseServer
from kafka_ingest.local.embedded import EmbeddedKafka
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, locked, read_json, silent, write_private, write_private_json
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.registry import LocalRegistry
from kafka_ingest.local.server import is_running, stop_data_dir

STACK_FILE = "stack.json"
"""What `up` brought up."""
SERVERS_FILE = "servers.env"
"""`export` lines for a shell."""
KAFKA_KINDS = ("apache", "embedded")
DATABASE_KINDS = ("mysql", "mariadb", "sqlite")
"""What `auto` tries, in this order."""
REGISTRY = "registry"


def folders(root: Path) -> list[str]:
    """Kinds that have, or had, a server under the root: their folders have their names."""
    return sorted(each.name for each in root.iterdir() if each.is_dir()) if root.is_dir() else []


def _own_server(kind: str) -> type[LocalDatabaseServer] | None:
    return LocalDatabase if kind in PROGRAMS else None


@dataclass(frozen=True)
class StackPart:
    """One half of the stack: what runs, where, and why it and not another."""

    kind: str
    address: str
    """Bootstrap servers or database URL (with its password)."""
    line: str
    client: str | None = None
    """What to type to look into a database."""


@dataclass(frozen=True)
class LocalStack:
    """What `up` brought up. Kept in `ROOT/stack.json`, and for a shell in `ROOT/servers.env`, until `down`; only their owner may
    read them, as the URL holds a password."""

    kafka_bootstrap_servers: str
    database_url: str
    lines: tuple[str, ...]
    """For people: what runs and why, one line each."""
    kafka: str
    """`apache` or `embedded`."""
    database: str
    """Its backend: `mysql`, `mariadb`, `sqlite`, or another there is a server for."""
    client: str | None = None
    """What a person types to look into the database; None: nothing known."""
    schema_registry_url: str | None = None
    """Where a registry was asked for."""

    def settings(self) -> dict[str, str]:
        """The environment variables that name these servers."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "KAFKA_INGEST_DATABASE_URL": self.database_url,
        } | ({} if self.schema_registry_url is None else {"SCHEMA_REGISTRY_URL": self.schema_registry_url})

    @classmethod
    def up(
        cls,
        root: Path,
        *,
        kafka: str = "auto",
        database: str = "auto",
        registry: bool = False,
        progress: Progress = silent,
        server_of: Callable[[str], type[LocalDatabaseServer] | None] = _own_server,
    ) -> LocalStack:
        """Start what is not running yet and reuse what is; calling it again changes nothing. server_of: the server of a database
        kind, as its sink says (`Sink.local_server`). registry: a schema registry too; one that runs is kept without it.

        `auto` keeps to what already runs under `root`; else it takes the real server and falls back, saying why: apache
        to embedded; mysql to mariadb to sqlite. Naming another kind than the running one stops that one.
        LocalServerError when nothing of what was asked for can be had.
        """
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(root / "stack.lock"):
            broker = _first(root, kafka, KAFKA_KINDS, lambda kind: _start_kafka(root, kind, progress), progress)
            kinds = _database_kinds(root, database, server_of)
            store = _first(
                root, database, kinds, lambda kind: _start_database(root, kind, progress, server_of(kind)), progress
            )
            lines: tuple[str, ...] = (broker.line, store.line)
            url = None
            if registry or is_running(root / REGISTRY):
                server = LocalRegistry.start(root / REGISTRY, progress=progress)
                url, lines = server.url, (*lines, f"{server.title} {server.version} on {server.url} (in memory)")
            stack = cls(broker.address, store.address, lines, broker.kind, store.kind, store.client, url)
            exports = (f"export {name}={shlex.quote(value)}\n" for name, value in stack.settings().items())
            write_private(root / SERVERS_FILE, "".join(exports))
            write_private_json(root / STACK_FILE, asdict(stack))
        return stack

    @staticmethod
    def down(root: Path) -> list[str]:
        """Stop every server under `root`, keeping all data, and forget where they were; returns the kinds that ran."""
        root = root.resolve()
        if not root.is_dir():
            return []
        with locked(root / "stack.lock"):
            stopped = [kind for kind in folders(root) if stop_data_dir(root / kind)]
            for path in (STACK_FILE, SERVERS_FILE, *(f"{kind}/{CLIENT_FILE}" for kind in folders(root))):
                (root / path).unlink(missing_ok=True)
        return stopped

    @classmethod
    def status(cls, root: Path) -> LocalStack | None:
        """What was brought up under `root` and still runs; None when nothing was, or a server of it ended since."""
        root = root.resolve()
        state = read_json(root / STACK_FILE)
        if not state:
            return None
        stack = cls(**{**state, "lines": tuple(state["lines"])})
        needed = [kind for kind in (stack.kafka, stack.database) if kind in folders(root)]
        return stack if all(is_running(root / kind) for kind in needed) else None


def _first(
    root: Path, wanted: str, kinds: tuple[str, ...], start: Callable[[str], StackPart], progress: Progress
) -> StackPart:
    """Start the wanted kind, or for `auto` the first that can be had; its line tells why the others failed."""
    if wanted != "auto" and wanted not in kinds:
        raise LocalServerError(f"{wanted!r} is none of: auto, {', '.join(kinds)}")
    running = [kind for kind in kinds if is_running(root / kind)]
    choices = (wanted,) if wanted != "auto" else (running[0],) if running else kinds
    reasons: list[str] = []
    for kind in choices:
        for other in running:
            if other != kind:
                progress(f"Stopping {other}: {kind} was asked for")
                stop_data_dir(root / other)
        try:
            part = start(kind)
        except LocalServerError as error:
            if len(choices) == 1:
                raise
            reasons.append(f"no {kind}: {str(error).splitlines()[0]}")
            progress(f"Falling back, {reasons[-1]}")
            continue
        return replace(part, line="; ".join([part.line, *reasons]))
    raise LocalServerError("nothing could be started: " + "; ".join(reasons))


def _database_kinds(
    root: Path, wanted: str, server_of: Callable[[str], type[LocalDatabaseServer] | None]
) -> tuple[str, ...]:
    """What `auto` chooses from, and another kind that is asked for, or was before."""
    others = (wanted, str(read_json(root / STACK_FILE).get("database", "auto")))
    known = (kind for kind in others if kind not in ("auto", *DATABASE_KINDS) and server_of(kind) is not None)
    return tuple(dict.fromkeys((*DATABASE_KINDS, *known)))


def _start_kafka(root: Path, kind: str, progress: Progress) -> StackPart:
    if kind == "embedded":
        stand_in = EmbeddedKafka.start(root / kind, progress=progress)
        line = (
            f"{stand_in.title} {stand_in.version} on {stand_in.bootstrap_servers} (not Kafka: for a look around only)"
        )
        return StackPart(kind, stand_in.bootstrap_servers, line)
    broker = LocalKafka.start(root / kind, progress=progress)
    line = f"Apache Kafka {broker.version} on {broker.bootstrap_servers} (Java {broker.java_major} found)"
    return StackPart(kind, broker.bootstrap_servers, line)


def _start_database(
    root: Path, kind: str, progress: Progress, server_class: type[LocalDatabaseServer] | None
) -> StackPart:
    if kind == "sqlite":
        path = root / "kafka_ingest.db"
        line = f"SQLite in {path} (not MySQL: for a look around only)"
        line = f"SQLite in {path} (not MySQL: for a look around only)"
        return StackPart(kind, f"sqlite:///{path}", line, f"sqlite3 {shlex.quote(str(path))}")
    if server_class is None:
        raise LocalServerError(f"there is no local server for {kind!r}; a sink offers one by `local_server`")
    server = server_class.start(kind, root / kind, progress=progress)
    line = f"{server.title} {server.version} on 127.0.0.1:{server.port} ({server.origin})"
    return StackPart(kind, server.url(), line, server.client_command())
