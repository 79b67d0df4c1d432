"""The link emulator over real sockets: passes, throttles, cuts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from hil.proxy import LinkEmulator

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def through(act: Callable[[LinkEmulator], Awaitable[None]], bytes_per_s: int = 0) -> None:
    """Run `act` with an emulator in front of an echo server."""

    async def whole() -> None:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        link = LinkEmulator("air", server.sockets[0].getsockname()[1], bytes_per_s)
        await link.start()
        try:
            await act(link)
        finally:
            await link.stop()
            server.close()

    asyncio.run(asyncio.wait_for(whole(), 20))


async def _connect(link: LinkEmulator) -> Client:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def _say(client: Client, data: bytes) -> bytes:
    client[1].write(data)
    return await asyncio.wait_for(client[0].readexactly(len(data)), 5)


def test_bytes_pass_both_ways_and_are_counted() -> None:
    async def act(link: LinkEmulator) -> None:
        client = await _connect(link)
        assert await _say(client, b"hello") == b"hello"
        assert (link.bytes_up, link.bytes_down) == (5, 5)
        client[1].close()

    through(act)


def test_a_cut_swallows_and_its_end_aborts_so_nothing_arrives_late() -> None:
    async def act(link: LinkEmulator) -> None:
        client = await _connect(link)
        await _say(client, b"before")
        link.cut(10.0)
        client[1].write(b"lost")
        await asyncio.sleep(0.05)
        fresh = await _connect(link)  # hangs, as out of range
        link.restore(20.0)
        assert await _gone(client) and link.bytes_up == len(b"before")
        assert await _gone(fresh) or await _say(fresh, b"x") == b"x"
        again = await _connect(link)
        assert await _say(again, b"after") == b"after"
        assert link.cuts == [(10.0, 20.0)]
        for one in (client, fresh, again):
            one[1].close()

    through(act)


async def _gone(client: Client) -> bool:
    try:
        return await asyncio.wait_for(client[0].read(1), 2) == b""
    except (OSError, TimeoutError) as error:
        return not isinstance(error, TimeoutError)


def test_the_cap_holds() -> None:
    async def act(link: LinkEmulator) -> None:
        client = await _connect(link)
        start_s = time.monotonic()
        await _say(client, b"x" * 40_000)
        # 40 kB at 80 kB/s, up and down paced at once: half a second, less the last chunk
        assert time.monotonic() - start_s >= 0.4
        client[1].close()

    through(act, bytes_per_s=80_000)
