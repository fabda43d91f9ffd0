"""LOAD DATA LOCAL INFILE from memory, over a connection that gives the server nothing else.

In this statement the *server* names the file it wants, and a client that opens whatever it is asked for lets a hostile
server read any file (MySQL manual, "Security Considerations for LOAD DATA LOCAL"). This connection never opens a file:
it sends the one buffer just offered, under the one name just offered, and refuses everything else.
"""

from __future__ import annotations

import secrets
from typing import Any

# The stubs leave out what is PyMySQL's own; test_local_infile.py notices when it changes.
from pymysql.connections import Connection, LoadLocalPacketWrapper, MySQLResult  # type: ignore[attr-defined]
from pymysql.protocol import MysqlPacket

from kafka_ingest.errors import HostileServer

# A packet of LOAD DATA is only a piece of the stream: far below max_allowed_packet, large enough to cost no time.
_PACKET_BYTES = 512 * 1024
FILE = ":file:"


class _Result(MySQLResult):
    def _read_load_local_packet(self, first_packet: MysqlPacket) -> None:
        connection = self.connection
        assert isinstance(connection, OfferingConnection)  # noqa: S101  made in _read_query_result below
        asked = LoadLocalPacketWrapper(first_packet).filename
        payload = connection.take_offer(asked)
        for start in range(0, len(payload), _PACKET_BYTES):
            connection.write_packet(payload[start : start + _PACKET_BYTES])
        if connection.refused is not None:
            # Without waiting for its answer: an error packet, a closed socket or silence would each raise something
            # else, and something that is tried again.
            connection._force_close()  # type: ignore[attr-defined]
            raise HostileServer(
                f"the database server asked for the file {connection.refused!r}, which was not offered; it got nothing. "
                "Check KAFKA_INGEST_DATABASE_URL and who answers there."
            )
        connection.write_packet(b"")  # the end of the data
        self._read_ok_packet(connection._read_packet())  # type: ignore[attr-defined, no-untyped-call]


class OfferingConnection(Connection):
    """A PyMySQL connection whose LOCAL INFILE serves one buffer from memory."""

    def __init__(self, **options: Any) -> None:
        self._offer: tuple[bytes, memoryview] | None = None
        self.refused: str | None = None
        super().__init__(**{**options, "local_infile": True})

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
