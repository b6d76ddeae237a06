"""A relay as the existing proxy has it: asyncio streams, read 4 KiB at a time."""

from __future__ import annotations

import asyncio
import sys

_READ = 4096
_BACKLOG = 1024  # the existing one has 8, which would leave nothing to compare


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_READ):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _serve(port: int, backend: int) -> asyncio.Server:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", backend)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    return await asyncio.start_server(accepted, "127.0.0.1", port, backlog=_BACKLOG)


async def _main() -> None:
    """Relay for each argument PORT:BACKEND."""
    servers = [await _serve(*map(int, each.split(":"))) for each in sys.argv[1:]]
    await asyncio.gather(*(each.serve_forever() for each in servers))


if __name__ == "__main__":
    asyncio.run(_main())
