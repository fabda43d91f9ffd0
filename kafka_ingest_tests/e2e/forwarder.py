"""A server of another name: `python forwarder.py PORT HOST PORT_THERE` takes connections and hands them on.

For a container, which has this file and nothing of the tests' environment: it imports the standard library only.
"""

from __future__ import annotations

import asyncio
import sys


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _forward(port: int, host: str, port_there: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reader_there, writer_there = await asyncio.open_connection(host, port_there)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, writer_there), _pass_on(reader_there, writer))

    server = await asyncio.start_server(accept, "0.0.0.0", port)  # noqa: S104  # the container's own network
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_forward(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
