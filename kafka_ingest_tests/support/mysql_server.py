"""A server that speaks just enough of MySQL's protocol to ask a client for its files."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

OK = b"\x00\x00\x00\x02\x00\x00\x00"
OK_AND_MORE = b"\x00\x00\x00\x0a\x00\x00\x00"
OK_AND_WARNED = b"\x00\x01\x00\x02\x00\x01\x00"  # one row, one warning
ERROR = b"\xff" + struct.pack("<H", 1064) + b"#42000you have an error"
# Plugin, capabilities and salt of a server of the 5.7 family: protocol 41, secure connection, LOCAL FILES, plugin auth.
_CAPABILITIES = 0x00000001 | 0x00000008 | 0x00000080 | 0x00000200 | 0x00002000 | 0x00008000 | 0x00080000
_GREETING = (
    b"\x0a5.7.0-hostile\x00"
    + struct.pack("<I", 1)
    + b"saltsalt\x00"
    + struct.pack("<HBHH", _CAPABILITIES & 0xFFFF, 33, 2, _CAPABILITIES >> 16)
    + b"\x15"
    + b"\x00" * 10
    + b"saltsaltsalt\x00mysql_native_password\x00"
)

Answer = Callable[[str], bytes]


def ask_for(name: bytes) -> bytes:
    """The packet by which a server asks for a file."""
    return b"\xfb" + name


@dataclass
class Server:
    """One connection at a time; `answer` gives the first packet for each statement.

    After it asked for a file, it keeps what it gets and then does `then`: "ok", "error", "close", or "more": it says that
    there is one more result, which is a request for the same file again.
    """

    answer: Answer
    then: str = "ok"
    statements: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Server:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client, suppress(ConnectionError, EOFError):
            self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        self._send(client, 0, _GREETING)
        number, _ = self._receive(client)
        self._send(client, number + 1, OK)
        while True:
            number, command = self._receive(client)
            if command[:1] != b"\x03":  # anything but a query: COM_QUIT
                return
            statement = command[1:].decode()
            self.statements.append(statement)
            first = OK if statement.startswith("SET ") else self.answer(statement)
            self._send(client, number + 1, first)
            if first[:1] == b"\xfb":
                number = self._take_file(client)
                if self.then == "close":
                    return
                if self.then == "more":
                    self._send(client, number + 1, OK_AND_MORE)
                    self._send(client, number + 2, first)
                    number = self._take_file(client)
                self._send(client, number + 1, ERROR if self.then == "error" else OK)

    def _take_file(self, client: socket.socket) -> int:
        while True:
            number, data = self._receive(client)
            if not data:
                return number
            self.received.append(data)

    @staticmethod
    def _send(client: socket.socket, number: int, payload: bytes) -> None:
        client.sendall(len(payload).to_bytes(3, "little") + bytes([number % 256]) + payload)

    @staticmethod
    def _receive(client: socket.socket) -> tuple[int, bytes]:
        def exactly(size: int) -> bytes:
            found = b""
            while len(found) < size:
                piece = client.recv(size - len(found))
                if not piece:
                    raise EOFError
                found += piece
            return found

        header = exactly(4)
        return header[3], exactly(int.from_bytes(header[:3], "little"))
