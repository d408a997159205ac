"""Both engines against the truth (Hugging Face, float64), and against what happens to engines."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rbr_service.errors import GraderDeadError, GraderError
from rbr_service.graders.engine import Answer, Prompts
from rbr_service.graders.openai_http import HTTPEngine
from rbr_service.graders.vllm import VLLMEngine

from .asking import ASKED, LABELS, QUESTIONS, answers, close_to, prompts
from .conftest import CONTEXT, NAME, in_process, over_http
from .servers import Server


@pytest.fixture(scope="module")
def truth(language_model: Path) -> list[list[list[float]]]:
    """For each of ASKED, each ending: the log probabilities of the labels."""
    model = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float64)
    found = []
    with torch.no_grad():
        for asked in ASKED:
            rows = [model(torch.tensor([[*asked.shared, *e]])).logits[0, -1] for e in asked.endings]
            spread = torch.log_softmax(torch.stack(rows), -1)
            among = torch.isin(spread.topk(20).indices, torch.tensor(LABELS)).any(-1)
            assert among.float().mean() < 0.2, "no label is among the top 20 of nearly all prompts"
            found.append(spread[:, LABELS].tolist())
    return found


@asynccontextmanager
async def started(engine: HTTPEngine) -> AsyncIterator[HTTPEngine]:
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def core(engine: VLLMEngine) -> int:
    """The process id of its core."""
    (process,) = engine._llm.engine_core.resources.engine_manager.processes
    return int(process.pid)


def test_in_process_equals_the_reference(
    engine: VLLMEngine, loop: asyncio.Runner, truth: list[list[list[float]]]
) -> None:
    async def run() -> list[list[Answer]]:
        await engine.check()
        return await asyncio.gather(*(answers(engine, asked) for asked in [*ASKED, *ASKED]))

    for found, expected in zip(loop.run(run()), [*truth, *truth], strict=True):
        close_to(found, expected)


def test_a_shared_prefix_is_computed_once(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    asked = prompts(77, 600)
    for whole in (False, True):
        found = loop.run(answers(engine, asked))
        cached = [answer.cached or 0 for answer in found]
        least = len(asked.shared) // 32 * 32
        assert sorted(cached)[0 if whole else 1] >= least


def test_a_prompt_that_is_too_long_is_told_without_it(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    asked = Prompts((LABELS[0],) * CONTEXT, ((5,), (6,)))
    with pytest.raises(GraderError, match=f"{CONTEXT + 1} tokens") as caught:
        loop.run(answers(engine, asked))
    assert not isinstance(caught.value, GraderDeadError)
    loop.run(answers(engine, ASKED[0]))


def test_cancelling_leaks_nothing(
    engine: VLLMEngine, loop: asyncio.Runner, truth: list[list[list[float]]]
) -> None:
    chance = random.Random(7)

    async def leave(after: float, take: int) -> None:
        async with aclosing(engine.answers(prompts(chance.randrange(99)), LABELS)) as found:
            async with asyncio.timeout(after):
                for _ in range(take):
                    await anext(found)

    async def run() -> list[Answer]:
        calls = [
            asyncio.create_task(leave(chance.uniform(0, 2), chance.choice([1, 5, QUESTIONS])))
            for _ in range(200)
        ]
        for call in chance.sample(calls, 60):
            await asyncio.sleep(chance.uniform(0, 0.02))
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert engine._llm.get_num_unfinished_requests() == 0
        assert not engine._endings
        return await answers(engine, ASKED[1])

    close_to(loop.run(run()), truth[1])
    assert loop.run(unfinished_in_core(engine)) == 0


async def unfinished_in_core(engine: VLLMEngine) -> int:
    """Requests that the core's scheduler still holds, as it reports with its last step."""
    from prometheus_client import REGISTRY

    await answers(engine, ASKED[3])
    return sum(
        int(sample.value)
        for metric in REGISTRY.collect()
        if metric.name in ("vllm:num_requests_running", "vllm:num_requests_waiting")
        for sample in metric.samples
    )


def test_no_more_calls_than_allowed_are_in_the_engine(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, engine._llm.get_num_unfinished_requests())
            await asyncio.sleep(0.001)

    async def run() -> None:
        watching = asyncio.create_task(watch())
        waiting = [asyncio.create_task(answers(engine, prompts(200 + i, 50, 10))) for i in range(40)]
        await asyncio.sleep(0)
        waiting[39].cancel()  # it waits for its turn
        await asyncio.gather(*waiting[:39])
        assert waiting[39].cancelled()
        watching.cancel()

    loop.run(run())
    assert 10 < most <= 8 * 10


def test_a_halted_core_goes_on_where_it_was(
    engine: VLLMEngine, loop: asyncio.Runner, truth: list[list[list[float]]]
) -> None:
    async def run() -> list[Answer]:
        os.kill(core(engine), signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(answers(engine, ASKED[1]))
            left = asyncio.create_task(answers(engine, prompts(88)))
            await asyncio.sleep(1.5)
            assert not waiting.done()
            left.cancel()
            await asyncio.wait({left}, timeout=2)
            assert left.cancelled(), "cancelling does not wait for the core"
        finally:
            os.kill(core(engine), signal.SIGCONT)
        return await waiting

    close_to(loop.run(run()), truth[1])


def test_a_killed_core_is_noticed(language_model: Path) -> None:
    async def run() -> None:
        engine = in_process(language_model)
        with pytest.raises(GraderError, match="not running"):
            await engine.check()
        try:
            await engine.start()
            await answers(engine, ASKED[0])
            victim = core(engine)
            os.kill(victim, signal.SIGSTOP)
            waiting = [asyncio.create_task(answers(engine, prompts(i))) for i in range(12)]
            await asyncio.sleep(0.3)
            begin = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            for call in waiting:
                with pytest.raises(GraderDeadError):
                    await call
            with pytest.raises(GraderDeadError):
                await engine.check()
            with pytest.raises(GraderDeadError):
                await answers(engine, ASKED[0])
            assert time.monotonic() - begin < 5
        finally:
            await engine.close()
        with pytest.raises(GraderError):
            await engine.check()

    asyncio.run(run())


def test_over_http_equals_the_reference(server: Server, truth: list[list[list[float]]]) -> None:
    async def run() -> list[list[Answer]]:
        async with started(over_http(server)) as engine:
            assert engine.context == CONTEXT
            await engine.check()
            return await asyncio.gather(*(answers(engine, asked) for asked in [*ASKED, *ASKED]))

    for found, expected in zip(asyncio.run(run()), [*truth, *truth], strict=True):
        close_to(found, expected)


def test_the_wrong_server_is_refused(server: Server) -> None:
    async def refused(engine: HTTPEngine) -> str:
        with pytest.raises(GraderError) as caught:
            async with started(engine):
                pass
        return caught.value.message

    other = HTTPEngine(server.url, "other", probe=("a", (1,)), start_patience=5)
    assert NAME in asyncio.run(refused(other))
    tokens = HTTPEngine(server.url, NAME, probe=("a b", (1, 2)), start_patience=5)
    assert "tokenizer at hand is not the server's" in asyncio.run(refused(tokens))
    nobody = HTTPEngine("http://127.0.0.1:9", NAME, probe=("a", (1,)), start_patience=0.5)
    assert "not there after" in asyncio.run(refused(nobody))


def test_the_server_refuses_a_prompt_that_is_too_long(server: Server) -> None:
    async def run() -> None:
        async with started(over_http(server)) as engine:
            with pytest.raises(GraderError, match="400") as caught:
                await answers(engine, Prompts((LABELS[0],) * CONTEXT, ((5,), (6,))))
            assert f"{LABELS[0]}, {LABELS[0]}" not in caught.value.message

    asyncio.run(run())


def test_a_halted_server_goes_on_where_it_was(server: Server, truth: list[list[list[float]]]) -> None:
    async def run() -> list[Answer]:
        async with started(over_http(server)) as engine:
            server.signal(signal.SIGSTOP)
            try:
                waiting = asyncio.create_task(answers(engine, ASKED[1]))
                await asyncio.sleep(1)
                assert not waiting.done()
            finally:
                server.signal(signal.SIGCONT)
            return await waiting

    close_to(asyncio.run(run()), truth[1])


def test_nothing_is_lost_when_the_server_is_killed_and_started_again(
    server: Server, truth: list[list[list[float]]]
) -> None:
    async def run() -> list[list[Answer]]:
        async with started(over_http(server)) as engine:
            waiting = [asyncio.create_task(answers(engine, ASKED[i % 4])) for i in range(40)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            server.kill()
            await asyncio.sleep(1)
            assert not all(call.done() for call in waiting)
            assert engine.fault
            with pytest.raises(GraderError):
                await engine.check()
            server.start()
            found = await asyncio.gather(*waiting)
            assert engine.fault == ""
            return found

    for i, found in enumerate(asyncio.run(run())):
        close_to(found, truth[i % 4])
