"""What every verdict cache promises, over all of them; what memory and layers promise besides."""

import asyncio
import builtins
import math
import os
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbr_service.errors import SettingsError
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key, Layered, MemoryCache, VerdictCache, make_cache
from rbr_service.graders.cache_redis import RedisCache
from rbr_service.graders.cache_sqlite import SQLiteCache
from tests.redis_server import PASSWORD, RedisServer

Make = Callable[[], VerdictCache]
Scenario = Callable[[VerdictCache], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis", "layered sqlite", "layered redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    file = tmp_path / "verdicts.db"
    if request.param == "memory":
        return lambda: MemoryCache(100_000)
    if request.param == "sqlite":
        return lambda: SQLiteCache(file)
    if request.param == "layered sqlite":
        return lambda: make_cache(f"sqlite:{file}", 10, None)
    server: RedisServer = request.getfixturevalue("server")
    if request.param == "redis":
        return lambda: RedisCache(server.url, PASSWORD)
    return lambda: make_cache(server.url, 10, PASSWORD)


def run(make: Make, *scenarios: Scenario) -> None:
    """Run each scenario with a cache opened for it; none may have seen a fault."""

    async def opened(scenario: Scenario) -> None:
        cache = make()
        await cache.start()
        try:
            await scenario(cache)
            assert cache.faults == 0
        finally:
            await cache.close()

    for scenario in scenarios:
        asyncio.run(opened(scenario))


def some(count: int, seed: int | None = None) -> dict[Key, Verdict]:
    source = random.Random(seed if seed is not None else os.urandom(8))
    return {source.randbytes(32): Verdict(source.random(), source.random()) for _ in range(count)}


def test_it_knows_what_was_put_and_nothing_else(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        verdicts, strange = some(23), list(some(5))
        assert await cache.get([*verdicts, *strange]) == {}
        await cache.put(verdicts)
        assert await cache.get([*verdicts, *strange]) == verdicts
        assert await cache.get(strange) == {}
        first = next(iter(verdicts))
        assert await cache.get([first, strange[0], first]) == {first: verdicts[first]}

    run(make, scenario)


def test_nothing_asked_and_nothing_put(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        await cache.put({})
        assert await cache.get([]) == {}

    run(make, scenario)


def test_the_last_put_counts(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        key = os.urandom(32)
        await cache.put({key: Verdict(0.1, 0.9)})
        await cache.put({key: Verdict(0.2, 0.8)})
        assert await cache.get([key]) == {key: Verdict(0.2, 0.8)}

    run(make, scenario)


def test_thousands_in_one_call(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        verdicts = some(5000)
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == verdicts

    run(make, scenario)


def test_many_callers_at_once(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        async def caller(seed: int) -> None:
            verdicts = some(5, seed)
            await cache.put(verdicts)
            assert await cache.get(list(verdicts)) == verdicts

        await asyncio.gather(*map(caller, range(300)))

    run(make, scenario)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_what_is_no_probability_is_not_kept(make: Make, wrong: float) -> None:
    async def scenario(cache: VerdictCache) -> None:
        verdicts = some(3)
        p, mass = os.urandom(32), os.urandom(32)
        await cache.put({p: Verdict(wrong), **verdicts, mass: Verdict(0.5, wrong)})
        assert await cache.get([p, *verdicts, mass]) == verdicts

    run(make, scenario)


def test_whole_numbers_are_numbers(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        verdicts = {os.urandom(32): Verdict(0, 1), os.urandom(32): Verdict(1, 0)}
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == verdicts

    run(make, scenario)


def test_callers_who_are_cancelled_leave_nothing_wrong_behind(make: Make) -> None:
    async def scenario(cache: VerdictCache) -> None:
        source, verdicts = random.Random(7), some(200)
        await cache.put(verdicts)
        callers: list[asyncio.Task[dict[Key, Verdict]]] = []
        for _ in range(400):
            asked = source.sample(list(verdicts), 3)
            callers.append(asyncio.create_task(cache.get(asked)))
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
            source.choice(callers).cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, dict):
                assert len(answer) == 3
                assert answer == {key: verdicts[key] for key in answer}
            else:
                assert isinstance(answer, asyncio.CancelledError)
        assert await cache.get(list(verdicts)) == verdicts

    run(make, scenario)


def bits(verdict: Verdict) -> bytes:
    return struct.pack("<2d", verdict.p, verdict.label_mass)


PROBABILITY = st.floats(0, 1)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # a cache may hold what earlier examples put there
@given(
    st.dictionaries(
        st.binary(min_size=32, max_size=32),
        st.builds(Verdict, PROBABILITY, PROBABILITY),
        max_size=20,
    )
)
def test_every_key_and_float_comes_back_to_the_bit(make: Make, verdicts: dict[Key, Verdict]) -> None:
    async def scenario(cache: VerdictCache) -> None:
        await cache.put(verdicts)
        found = await cache.get(list(verdicts))
        assert {k: bits(v) for k, v in found.items()} == {k: bits(v) for k, v in verdicts.items()}

    run(make, scenario)


def test_a_store_outlives_its_service(make: Make) -> None:
    verdicts = some(23)

    async def writes(cache: VerdictCache) -> None:
        await cache.put(verdicts)

    async def reads(cache: VerdictCache) -> None:
        kept = {} if isinstance(cache, MemoryCache) else verdicts
        assert await cache.get(list(verdicts)) == kept

    run(make, writes, reads)


def test_memory_forgets_what_was_unused_for_longest() -> None:
    async def scenario() -> None:
        cache, verdicts = MemoryCache(3), some(5)
        a, b, c, d, e = verdicts
        await cache.put({key: verdicts[key] for key in (a, b, c)})
        await cache.get([a])
        await cache.put({d: verdicts[d]})
        assert set(await cache.get([d, a, c, b])) == {a, c, d}
        await cache.put({d: verdicts[d]})
        await cache.put({e: verdicts[e]})
        assert set(await cache.get(list(verdicts))) == {c, d, e}

    asyncio.run(scenario())


def test_memory_for_nothing_keeps_nothing() -> None:
    async def scenario() -> None:
        cache, verdicts = MemoryCache(0), some(5)
        await cache.put(verdicts)
        assert await cache.get(list(verdicts)) == {}

    asyncio.run(scenario())


def test_memory_is_bounded_as_its_docstring_says() -> None:
    async def scenario() -> None:
        entries = 20_000
        cache = MemoryCache(entries)
        tracemalloc.start()
        try:
            for _ in range(3 * entries // 100):
                await cache.put(some(100))
            used, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 200 < used / entries < 310
        assert peak / entries < 400

    asyncio.run(scenario())


class CountingStore(MemoryCache):
    """Knows what it was asked, and can be said to fail."""

    def __init__(self) -> None:
        super().__init__(100)
        self.asked: list[list[Key]] = []
        self.open = False

    async def start(self) -> None:
        self.open = True

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        self.asked.append(list(keys))
        return await super().get(keys)

    async def close(self) -> None:
        self.open = False


def test_a_store_is_asked_once_for_what_memory_lacks() -> None:
    async def scenario() -> None:
        store, verdicts = CountingStore(), some(3)
        cache = Layered(MemoryCache(100), store)
        await cache.start()
        assert store.open
        a, b, c = verdicts
        await store.put({a: verdicts[a]})
        await cache.put({b: verdicts[b]})
        assert await cache.get([a, b, c]) == {a: verdicts[a], b: verdicts[b]}
        assert await cache.get([a, b]) == {a: verdicts[a], b: verdicts[b]}
        assert store.asked == [[a, c]]
        assert await store.get([b]) == {b: verdicts[b]}
        store.faults = 3
        assert cache.faults == 3
        await cache.close()
        assert not store.open

    asyncio.run(scenario())


def test_the_setting_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_cache("memory", 5, None), MemoryCache)
    monkeypatch.setenv("HOME", str(tmp_path))

    async def scenario() -> None:
        cache = make_cache("sqlite:~/verdicts.db", 5, None)
        await cache.start()
        await cache.close()

    asyncio.run(scenario())
    assert (tmp_path / "verdicts.db").exists()


@pytest.mark.parametrize("spec", ["", "disk", "sqlite:", "sqlite", "http://localhost", "memory:5"])
def test_other_settings_are_refused(spec: str) -> None:
    with pytest.raises(SettingsError, match="must be memory, sqlite:FILE or redis://"):
        make_cache(spec, 5, None)


def test_without_redis_client_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rbr_service.graders.cache_redis")
    imported = builtins.__import__

    def bare(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "redis":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", bare)
    with pytest.raises(SettingsError, match=r"pip install 'rule-based-rewards\[redis\]'"):
        make_cache("redis://localhost", 5, None)
