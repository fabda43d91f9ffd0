"""LOAD DATA LOCAL INFILE from memory, over a connection that gives the server nothing else; and INSERT, as strict.

In this statement the *server* names the file it wants, and a client that opens whatever it is asked for lets a hostile
server read any file (MySQL manual, "Security Considerations for LOAD DATA LOCAL"). This connection never opens a file:
it sends the one buffer just offered, under the one name just offered, and refuses everything else.
"""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The stubs leave out what is PyMySQL's own; test_load_data_connection.py notices when it changes.
from pymysql.connections import Connection, LoadLocalPacketWrapper, MySQLResult  # type: ignore[attr-defined]
from pymysql.constants import COMMAND
from pymysql.cursors import Cursor
from pymysql.err import DataError
from pymysql.protocol import MysqlPacket

from kafka_ingest.errors import HostileServer
from kafka_ingest.sinks.mysql.tls import encrypting

# A packet of LOAD DATA is only a piece of the stream: far below max_allowed_packet, large enough to cost no time.
_PACKET_BYTES = 512 * 1024
FILE = ":file:"
# ER_NET_PACKET_TOO_LARGE (MySQL Error Message Reference).
PACKET_TOO_LARGE = 1153


class _Result(MySQLResult):
    def _read_load_local_packet(self, first_packet: MysqlPacket) -> None:
        connection = self.connection
        assert isinstance(connection, OfferingConnection)  # noqa: S101  made in _read_query_result below
        asked = LoadLocalPacketWrapper(first_packet).filename
        payload = connection.take_offer(asked)
        limit = connection.max_statement_bytes
        size = _PACKET_BYTES if limit is None else min(_PACKET_BYTES, limit // 2)
        for start in range(0, len(payload), size):
            connection.write_packet(payload[start : start + size])
        if connection.refused is not None:
            # Without waiting for its answer: an error packet, a closed socket or silence would each raise something
            # else, and something that is tried again.
            connection._force_close()  # type: ignore[attr-defined]
            raise HostileServer(
                f"the database server asked for the file {connection.refused!r}, which was not offered; it got nothing. "
                "Check KAFKA_INGEST_DATABASE_URL and who answers there.",
                file=connection.refused,
            )
        connection.write_packet(b"")  # the end of the data
        self._read_ok_packet(connection._read_packet())  # type: ignore[attr-defined, no-untyped-call]


class _Warned(Exception):
    """A statement had warnings or notes."""


class _StrictCursor(Cursor):
    """`executemany` is several statements, of which the driver remembers the last one's warnings: this stops at the first
    statement that has any."""

    def execute(self, query: str, args: object = None) -> int:
        affected = super().execute(query, args)
        if self.warning_count:
            raise _Warned
        return affected


class OfferingConnection(Connection):
    """A PyMySQL connection whose LOCAL INFILE serves one buffer from memory."""

    def __init__(self, **options: Any) -> None:
        self._offer: tuple[bytes, memoryview] | None = None
        self.refused: str | None = None
        self.max_statement_bytes: int | None = None
        """The server's max_allowed_packet, once `learn_limits` has asked."""
        self._is_committed = False
        """Whether nothing was asked since the last commit, so that there is nothing to roll back."""
        super().__init__(**{**options, "local_infile": True})

    def connect(self, sock: socket.socket | None = None) -> None:
        """Connect and sign in; no wait for the server is longer than `connect_timeout`, which the driver itself applies to
        the TCP connection alone: a server that accepts and then is silent would be waited for as for a statement."""
        with self._impatient():
            super().connect(sock)

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        found: ssl.SSLContext = super()._create_ssl_ctx(sslp) if sslp else encrypting()  # type: ignore[misc]
        return found

    def ping(self, reconnect: Any = False) -> None:
        """Whether the server is still there, within `connect_timeout`: SQLAlchemy's pool asks before each use."""
        with self._impatient():
            super().ping(reconnect)

    def commit(self) -> None:
        super().commit()
        self._is_committed = True

    def rollback(self) -> None:
        """As the driver's; after a commit there is nothing to ask for, which SQLAlchemy's pool does each time."""
        if not self._is_committed:
            super().rollback()

    def learn_limits(self) -> None:
        """Ask what the server takes. Once after connecting."""
        with self._impatient(), self.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            found = cursor.fetchone()
        assert found is not None  # noqa: S101  a SELECT without a table has one row
        self.max_statement_bytes = int(found[0])

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        names = ("_read_timeout", "_write_timeout")
        patient = {name: getattr(self, name) for name in names}
        for name, seconds in patient.items():
            limit: float = self.connect_timeout  # type: ignore[assignment]
            setattr(self, name, min(limit, seconds or limit))
        try:
            yield
        finally:
            for name, seconds in patient.items():
                setattr(self, name, seconds)

    def _execute_command(self, command: int, sql: str | bytes | bytearray) -> None:
        """As the driver's, but a statement the server would not take is an error that says so: the server drops the
        connection instead, which looks like an outage and would be tried again for ever."""
        body = sql.encode(self.encoding, "surrogateescape") if isinstance(sql, str) else sql
        if self.max_statement_bytes is not None and len(body) >= self.max_statement_bytes:
            raise DataError(
                PACKET_TOO_LARGE,
                f"a statement of {len(body):,} bytes, with a message in it, is larger than the server's max_allowed_packet "
                f"of {self.max_statement_bytes:,} bytes. Raise that: SET GLOBAL max_allowed_packet",
            )
        self._is_committed = self._is_committed and command != COMMAND.COM_QUERY
        super()._execute_command(command, body)  # type: ignore[misc]

    def load_local(self, statement: str, payload: memoryview) -> tuple[int, int]:
        """Run a `LOAD DATA LOCAL INFILE` statement, with FILE where the name goes, on `payload`: (rows, warnings).

        Raises HostileServer where the server asks for anything else, and the driver's own errors.
        """
        name = f"kafka_ingest_{secrets.token_hex(8)}"
        self._offer = (name.encode("ascii"), payload)
        self.refused = None
        try:
            with self.cursor() as cursor:
                affected = cursor.execute(statement.replace(FILE, f"'{name}'"))
                return affected, cursor.warning_count
        finally:
            self._offer = None

    def insert_rows(self, statement: str, rows: Sequence[tuple[object, ...]]) -> tuple[int, int]:
        """Run an `INSERT … VALUES (%s, …)` for these rows, in statements the server takes: (rows, warnings), where warnings end
        it. What was inserted before stays: the caller rolls back.

        Raises the driver's own errors.
        """
        with self.cursor(_StrictCursor) as cursor:
            if self.max_statement_bytes is not None:
                # A statement of one row may be longer; then it is the row that is too large.
                most = min(cursor.max_stmt_length, self.max_statement_bytes - 1)
                cursor.max_stmt_length = most  # type: ignore[misc]  # the stubs know it as the class's alone
            try:
                return cursor.executemany(statement, rows) or 0, 0
            except _Warned:
                return cursor.rowcount, cursor.warning_count

    def take_offer(self, asked: bytes | str) -> memoryview:
        """The buffer offered under this name, once; an empty one, and a note in `refused`, for any other name."""
        asked_bytes = asked.encode("utf-8", "replace") if isinstance(asked, str) else bytes(asked)
        offer, self._offer = self._offer, None
        if offer is None or offer[0] != asked_bytes:
            self.refused = asked_bytes.decode("utf-8", "replace")
            return memoryview(b"")
        return offer[1]

    def _read_query_result(self, unbuffered: bool = False) -> int:
        # As in PyMySQL, with our result class; results here are small, so they are always buffered.
        self._result = None
        result = _Result(self)
        result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows or 0
