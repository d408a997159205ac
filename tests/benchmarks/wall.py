"""How much sooner the grader is done than chat calls that ask the same, by one server, in turns.

    one vLLM server, a model in which compute counts, prefix caching on
      ours:   LLMGrader, layout book, HTTPEngine      one request per completion
      theirs: chat.py, layout released                one request per question

In every round each grades completions that nobody has seen, all at once. What else the machine does
meets both alike.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from rbr_service.conversation import Conversation
from rbr_service.encoder import Encoder
from rbr_service.graders.openai_http import HTTPEngine
from rbr_service.graders.vllm import VLLMEngine
from tests.vllm import models, servers

from . import counters, workload
from .chat import Chat
from .counters import Count
from .figures import Figure
from .grading import Grading

ROUNDS = 4
COMPLETIONS = 3  # a round and side
CONTEXT = 16384
BLOCKS = 90_000 // workload.BLOCK  # of the KV cache: room for the book and for all that is in flight
NAME = "grader"  # what the server calls the model
PROBE = "Yes, naïve café №5:\n\n\t1234567890 <|im_end|>"
UNTIL_COUNTED = 0.3  # seconds: vLLM counts after it has answered
TIMES_SOONER = 5

Grade = Callable[[Sequence[Conversation]], Awaitable[None]]


@dataclass(frozen=True)
class Side:
    """One way to grade in one round."""

    seconds: float
    spent: Count

    def __str__(self) -> str:
        return (
            f"{COMPLETIONS / self.seconds:.3f} completions/s, {self.spent.computed / COMPLETIONS:,.0f} tokens "
            f"each ({self.spent.computed / self.seconds:,.0f}/s)"
        )


def measure() -> list[Figure]:
    """Median over rounds of their seconds over ours."""
    with TemporaryDirectory() as place:
        model = models.language_model(Path(place) / "language", models.BENCH)
        options = ("--served-model-name", NAME, "--max-model-len", str(CONTEXT))
        blocks = ("--num-gpu-blocks-override", str(BLOCKS))
        with servers.Server(model, Path(place) / "server.log", *options, *blocks) as server:
            rounds = asyncio.run(_over_http(server.ready().url, Encoder.load(str(model))))
        ratio = median(theirs.seconds / ours.seconds for ours, theirs in rounds)
        asyncio.run(_in_process(model))
    return [
        Figure("wall_ratio_vs_chat", ratio, TIMES_SOONER, "chat calls' seconds over the grader's", least=True)
    ]


async def _over_http(url: str, encoder: Encoder) -> list[tuple[Side, Side]]:
    policy = workload.policy()
    engine = HTTPEngine(url, NAME, probe=(PROBE, tuple(encoder.exact(PROBE))), precision="float32")
    ours = Grading(engine, encoder, policy, "book")
    await ours.grader.start()
    found = []
    try:
        async with Chat(url, NAME, policy) as theirs:
            for grade in (ours.grade, theirs.grade):
                await grade(workload.conversations(1))
            for n in range(ROUNDS):
                talk = workload.conversations(2 * COMPLETIONS, 100 * (n + 1))
                found.append(
                    (
                        await _timed(url, ours.grade, talk[:COMPLETIONS]),
                        await _timed(url, theirs.grade, talk[COMPLETIONS:]),
                    )
                )
                click.echo(_shown(*found[-1]), err=True)
    finally:
        await ours.grader.close()
    return found


async def _timed(url: str, grade: Grade, talk: Sequence[Conversation]) -> Side:
    before = counters.of_server(url)
    begin = time.perf_counter()
    await grade(talk)
    seconds = time.perf_counter() - begin
    await asyncio.sleep(UNTIL_COUNTED)
    return Side(seconds, counters.of_server(url) - before)


def _shown(ours: Side, theirs: Side) -> str:
    return f"wall: {theirs.seconds / ours.seconds:.2f} times: {ours}; chat: {theirs}"


async def _in_process(model: Path) -> None:
    """The same with the engine in this process: told, not kept."""
    args = {"max_model_len": CONTEXT, "enforce_eager": True, "num_gpu_blocks_override": BLOCKS}
    engine = VLLMEngine(str(model), precision="float32", args=args)
    ours = Grading(engine, Encoder.load(str(model)), workload.policy(), "book")
    try:
        await ours.grader.start()
        for n in range(ROUNDS):
            begin = time.perf_counter()
            await ours.grade(workload.conversations(COMPLETIONS, 100 * (n + 1)))
            speed = COMPLETIONS / (time.perf_counter() - begin)
            click.echo(f"wall: in process {speed:.3f} completions/s", err=True)
    finally:
        await ours.grader.close()
