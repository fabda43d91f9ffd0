"""A TCP proxy on loopback that breaks connections in the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from kafka_ingest.local.ports import LOOPBACK, free_port

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
_LOOK_SECONDS = 0.02
# A closed socket with this option sends RST instead of FIN (socket(7), SO_LINGER).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the network. The default: nothing."""

    refuse: bool = False
    """Nobody listens, and connections there were are reset."""
    silent: bool = False
    """A black hole: connections open, nothing arrives on either side. What was sent meanwhile arrives when it ends."""
    half_open: bool = False
    """The server's side of each connection is closed, and the client is not told; new connections are never answered."""
    reset_after_bytes: int | None = None
    """Each connection is reset when the server has sent so much over it."""
    latency_seconds: float = 0.0
    """Every piece of data, in each direction, arrives so much later."""
    stall_ratio: float = 0.0
    """This part of the pieces of data …"""
    stall_seconds: float = 0.0
    """… arrives so much later."""


HEALTHY = Fault()


class FaultProxy:
    """`with FaultProxy(server_port) as proxy: … with proxy.fault(Fault(silent=True)): …`. Reusable at the same port."""

    def __init__(self, target_port: int, *, port: int | None = None, seed: int = 0) -> None:
        self.port = free_port() if port is None else port
        self.target_port = target_port
        self.accepted = 0
        """Connections taken since the start."""
        self._fault = HEALTHY
        self._random = random.Random(seed)
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._stranded: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """The network is so until the block ends."""
        self.set(fault)
        try:
            yield
        finally:
            self.set(HEALTHY)

    def set(self, fault: Fault) -> None:
        """The network is so from now on."""
        self._run(self._change(fault))

    def reset_all(self) -> None:
        """Reset every connection there is, once."""
        self._run(self._reset_all())

    def strand_all(self) -> None:
        """What a power cut of the client's machine does: every connection there is goes dead on both sides, and neither is
        told. New ones work."""
        self._run(self._strand_all())

    async def _change(self, fault: Fault) -> None:
        was, self._fault = self._fault, fault
        if fault.refuse and not was.refuse:
            await self._stop_listening()
            await self._reset_all()
        if was.refuse and not fault.refuse:
            await self._listen()
        if fault.half_open:
            for upstream in self._pairs.values():
                upstream.transport.abort()
        if was.half_open and not fault.half_open:
            await self._reset_all()  # the server has no such connection: the next packet is answered by a reset

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, backlog=512)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        # What was just accepted comes to its handler a few rounds of the loop later. Cancelled before that, it would never run,
        # and nobody would close the connection.
        for _ in range(10):
            await asyncio.sleep(0)

    async def _shut(self) -> None:
        await self._stop_listening()
        await self._reset_all()
        # What handled the connections ends by itself, as each has lost its sockets.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _strand_all(self) -> None:
        self._stranded |= set(self._pairs)

    async def _reset_all(self) -> None:
        for client, upstream in list(self._pairs.items()):
            _reset(client)
            _reset(upstream)
        await asyncio.sleep(_LOOK_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while self._fault.silent or self._fault.half_open:
                await asyncio.sleep(_LOOK_SECONDS)
                if client.transport.is_closing() or reader.at_eof():
                    return
            try:
                from_server, upstream = await asyncio.open_connection(LOOPBACK, self.target_port)
            except OSError:
                _reset(client)
                return
            self._pairs[client] = upstream
            try:
                await self._join(reader, client, from_server, upstream)
            finally:
                del self._pairs[client]
                self._stranded.discard(client)
                upstream.close()
        finally:
            client.close()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """Both directions, until one side is closed; a half-open fault keeps the client's side as it is."""
        pumps = [
            asyncio.ensure_future(self._pump(reader, upstream, client, counted=False)),
            asyncio.ensure_future(self._pump(from_server, client, client, counted=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            while self._fault.half_open and not client.transport.is_closing():
                await asyncio.sleep(_LOOK_SECONDS)
            while client in self._stranded and not upstream.transport.is_closing() and not from_server.at_eof():
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        sent = 0
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK_BYTES):
                await self._delay()
                if client in self._stranded:
                    continue
                limit = self._fault.reset_after_bytes
                if limit is not None and counted and sent + len(data) >= limit:
                    sink.write(data[: max(0, limit - sent)])
                    _reset(client)
                    return
                sink.write(data)
                await sink.drain()
                sent += len(data)

    async def _delay(self) -> None:
        fault = self._fault
        seconds = fault.latency_seconds
        if fault.stall_ratio and self._random.random() < fault.stall_ratio:
            seconds += fault.stall_seconds
        if seconds:
            await asyncio.sleep(seconds)
        while self._fault.silent or self._fault.half_open:
            await asyncio.sleep(_LOOK_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
