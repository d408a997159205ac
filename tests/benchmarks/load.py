"""A client that opens a connection for every request, as OpenRLHF does, at little cost of its own."""

import asyncio
from itertools import repeat

HEAD = "POST /score HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


async def send(host: str, port: int, body: bytes, requests: int, in_flight: int) -> bytes:
    """Make `requests` equal requests, `in_flight` at a time; the last answer's body.

    Raises RuntimeError on an answer that is not 200.
    """
    request = HEAD.format(host, port, len(body)).encode() + body
    turns = repeat(None, requests)
    last = b""

    async def worker() -> None:
        nonlocal last
        for _ in turns:
            last = await _one(host, port, request)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return last


async def _one(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(None, 1)[0]))
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"the server answered {head[:80]!r} {body[:200]!r}")
        return body
    finally:
        writer.close()
