"""Verdicts in Redis, against a real server: shared, killed, frozen, full; never why a grade fails."""

import asyncio
import logging
import math
import os
import random
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import GraderError, SettingsError
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key
from rbr_service.graders.cache_redis import CONNECTIONS, PREFIX, RedisCache
from tests.redis_server import PASSWORD, RedisServer

PATIENCE = 60  # seconds; far more than anything here takes
Scenario = Callable[[RedisCache], Coroutine[Any, Any, None]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def run(server: RedisServer, scenario: Scenario, pause: float = 0) -> None:
    async def opened() -> None:
        cache = RedisCache(server.url, PASSWORD, pause)
        await cache.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await scenario(cache)
        finally:
            await cache.close()

    asyncio.run(opened())


def some(count: int = 5) -> dict[Key, Verdict]:
    return {os.urandom(32): Verdict(random.random(), random.random()) for _ in range(count)}


def test_two_replicas_share(server: RedisServer) -> None:
    async def scenario(cache: RedisCache) -> None:
        other = RedisCache(server.url, PASSWORD)
        await other.start()
        here, there = some(), some()
        await cache.put(here)
        await other.put(there)
        assert await other.get(list(here)) == here
        assert await cache.get([*here, *there]) == here | there
        assert cache.faults == other.faults == 0
        await other.close()

    run(server, scenario)


def test_nothing_but_hashes_and_numbers_is_stored(server: RedisServer) -> None:
    verdicts = some()

    async def scenario(cache: RedisCache) -> None:
        await cache.put(verdicts)

    run(server, scenario)
    with server.client() as client:
        stored = {key: client.get(key) for key in client.keys()}  # noqa: SIM118 - a command, no mapping
    assert stored == {b"rbr:v1:" + key: struct.pack("<2d", v.p, v.label_mass) for key, v in verdicts.items()}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yes",
        bytes(15),
        bytes(17),
        struct.pack("<2d", math.nan, 0.5),
        struct.pack("<2d", 0.5, math.nan),
        struct.pack("<2d", 1.5, 0.5),
        struct.pack("<2d", 0.5, -0.5),
        b"\xff" * 16,
    ],
)
def test_a_value_that_is_no_verdict_is_not_known(server: RedisServer, value: bytes) -> None:
    async def scenario(cache: RedisCache) -> None:
        verdicts = some()
        await cache.put(verdicts)
        spoilt, listed, *rest = verdicts
        with server.client() as client:
            client.set(PREFIX + spoilt, value)
            client.delete(PREFIX + listed)
            client.rpush(PREFIX + listed, bytes(16))
        assert await cache.get(list(verdicts)) == {key: verdicts[key] for key in rest}
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == verdicts
        assert cache.faults == 0

    run(server, scenario)


def test_a_killed_server_costs_misses_until_it_is_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rbr.cache")

    async def scenario(cache: RedisCache) -> None:
        verdicts = some()
        await cache.put(verdicts)
        server.kill()
        for count in range(1, 4):
            assert await cache.get(list(verdicts)) == {}
            await cache.put(verdicts)
            assert cache.faults == 2 * count
        server.start()
        assert await cache.get(list(verdicts)) == {}
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == verdicts
        assert cache.faults == 6

    run(server, scenario)
    assert [record.message.partition(" ")[2].partition(":")[0] for record in caplog.records] == [
        "fails",
        "works again",
    ]
    assert PASSWORD not in caplog.text


def test_a_server_that_was_restarted_unnoticed_costs_nothing(server: RedisServer) -> None:
    async def scenario(cache: RedisCache) -> None:
        await cache.put(some())
        server.kill()
        server.start()
        verdicts = some()
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == verdicts
        assert cache.faults == 0

    run(server, scenario)


def test_a_hung_server_is_waited_for_once(server: RedisServer) -> None:
    async def scenario(cache: RedisCache) -> None:
        verdicts = some()
        await cache.put(verdicts)
        server.freeze()
        begin = time.monotonic()
        answers = await asyncio.gather(*(cache.get(list(verdicts)) for _ in range(500)))
        assert answers == [{}] * 500
        # All that were with the server at that time have waited; whoever came after them did not.
        faults = cache.faults
        assert 1 <= faults <= CONNECTIONS
        for _ in range(500):
            assert await cache.get(list(verdicts)) == {}
            await cache.put(verdicts)
        assert cache.faults == faults
        assert time.monotonic() - begin < PATIENCE / 4  # 1,500 calls, each waiting, would take far longer

    run(server, scenario, pause=3600)


def test_a_hung_server_that_goes_on_is_used_again(server: RedisServer) -> None:
    async def scenario(cache: RedisCache) -> None:
        verdicts, later = some(), some()
        await cache.put(verdicts)
        server.freeze()
        assert await cache.get(list(verdicts)) == {}
        server.thaw()
        assert await cache.get(list(verdicts)) == verdicts
        await cache.put(later)
        assert await cache.get([*later, *verdicts]) == verdicts | later
        assert cache.faults == 1

    run(server, scenario)


def test_a_full_server_still_tells_what_it_knows(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rbr.cache")

    async def scenario(cache: RedisCache) -> None:
        verdicts, later = some(), some()
        await cache.put(verdicts)
        with server.client() as client:
            client.config_set("maxmemory", "1")
            for _ in range(3):
                await cache.put(later)
                assert await cache.get([*verdicts, *later]) == verdicts
            client.config_set("maxmemory", "0")
        await cache.put(later)
        assert await cache.get([*verdicts, *later]) == verdicts | later
        assert cache.faults == 3

    run(server, scenario)
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "writing verdicts fails",
        "writing verdicts works again",
    ]


def test_a_caller_who_leaves_does_not_end_what_was_begun(server: RedisServer) -> None:
    async def scenario(cache: RedisCache) -> None:
        verdicts = some()
        for key, verdict in verdicts.items():
            put = asyncio.create_task(cache.put({key: verdict}))
            await asyncio.sleep(0)
            put.cancel()
            await asyncio.gather(put, return_exceptions=True)
        while await cache.get(list(verdicts)) != verdicts:
            pass
        assert cache.faults == 0

    run(server, scenario)


def refusal(url: str, password: str | None) -> str:
    async def scenario() -> None:
        cache = RedisCache(url, password)
        try:
            await cache.start()
        finally:
            await cache.close()

    with pytest.raises(GraderError) as caught:
        asyncio.run(scenario())
    return caught.value.message


@pytest.mark.parametrize("password", ["let-me-in", None])
def test_a_wrong_password_is_refused_and_not_shown(server: RedisServer, password: str | None) -> None:
    message = refusal(server.url.replace("//", "//default@" if password else "//"), password)
    assert message.startswith(server.url)
    assert message.endswith("set RBR_REDIS_PASSWORD")
    assert "let-me-in" not in message


def test_no_server_is_refused(server: RedisServer) -> None:
    server.kill()
    assert refusal(server.url, PASSWORD).startswith(f"{server.url}: cannot be used as a cache of verdicts")


def test_a_hung_server_is_refused(server: RedisServer) -> None:
    server.freeze()
    assert server.url in refusal(server.url, PASSWORD)


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://[::1/0", "redis://host:99999/0"])
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="redis://HOST:PORT/DB"):
        RedisCache(url)


def test_what_is_shown_of_an_address_holds_no_secret() -> None:
    cache = RedisCache("rediss://me:secret@host:7000/3?password=secret&ssl_password=secret")
    assert cache.address == "rediss://host:7000/3"
