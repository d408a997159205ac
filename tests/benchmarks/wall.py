"""How much sooner the grader is done than chat calls that ask the same, by one server, in turns.

    one vLLM server, a model in which compute counts, prefix caching on
      ours:   LLMGrader, layout book, HTTPEngine      one request per completion
      theirs: chat.py, layout released                one request per question

In every round each grades completions that nobody has seen, all at once. What else the machine does
meets both alike. Two models of 50 million parameters: one in which attention has the share of the work
that it has in a model of 8 billion, and a narrow one in which attention to the book is most of it.
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
from rbr_service.graders.openai_http import HTTPEngine
from rbr_service.graders.vllm import VLLMEngine
from tests.vllm import models, servers

from . import counters, shapes, workload
from .chat import Chat
from .counters import Count
from .figures import Figure
from .grading import Grading
from .workload import Workload

ROUNDS = 3
COMPLETIONS = 2  # a round and side
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

    @property
    def speed(self) -> float:
        """Computed tokens per second."""
        return self.spent.computed / self.seconds

    def __str__(self) -> str:
        tokens = self.spent.computed / COMPLETIONS
        speed = COMPLETIONS / self.seconds
        return f"{speed:.3f} completions/s, {tokens:,.0f} tokens each, {self.speed:,.0f} tokens/s"


def measure() -> list[Figure]:
    """Median over rounds of their seconds over ours, for each model."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        narrow = models.language_model(folder / "narrow", models.BENCH)
        like_8b = shapes.language_model(folder / "like_8b", shapes.LIKE_8B)
        ratios = {
            "wall_ratio_vs_chat": _ratio(like_8b),
            "wall_ratio_vs_chat_narrow": _ratio(narrow),
        }
        asyncio.run(_in_process(like_8b))
    meaning = "chat calls' seconds over the grader's"
    return [Figure(key, ratio, TIMES_SOONER, meaning, least=True) for key, ratio in ratios.items()]


def _ratio(model: Path) -> float:
    options = ("--served-model-name", NAME, "--max-model-len", str(CONTEXT))
    blocks = ("--num-gpu-blocks-override", str(BLOCKS))
    with servers.Server(model, model / "server.log", *options, *blocks) as server:
        rounds = asyncio.run(_over_http(server.ready().url, workload.synthetic(model)))
    ratios = [theirs.seconds / ours.seconds for ours, theirs in rounds]
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    dearer = median(theirs.speed / ours.speed for ours, theirs in rounds)
    click.echo(
        f"wall: {model.name}: {shown}: median {median(ratios):.2f}; a token that attends to the book takes "
        f"{dearer:.1f} times as long as one of chat's",
        err=True,
    )
    return median(ratios)


async def _over_http(url: str, work: Workload) -> list[tuple[Side, Side]]:
    probe = (PROBE, tuple(work.encoder.exact(PROBE)))
    ours = Grading(HTTPEngine(url, NAME, probe=probe, precision="float32"), work, "book")
    theirs, first = Chat(url, NAME, work.policy), work.conversations([0])
    found = []
    try:
        await ours.grader.start()
        await ours.grade(first)
        await theirs.warm(first[0])
        for n in range(1, ROUNDS + 1):
            talk = work.conversations(range(100 * n, 100 * n + 2 * COMPLETIONS))
            mine = await _timed(url, ours.grade, talk[:COMPLETIONS])
            found.append((mine, await _timed(url, theirs.grade, talk[COMPLETIONS:])))
            click.echo(f"wall: book {mine}; chat {found[-1][1]}", err=True)
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


async def _in_process(model: Path) -> None:
    """The same with the engine in this process: told, not kept."""
    args = {"max_model_len": CONTEXT, "enforce_eager": True, "num_gpu_blocks_override": BLOCKS}
    work = workload.synthetic(model)
    ours = Grading(VLLMEngine(str(model), precision="float32", args=args), work, "book")
    try:
        await ours.grader.start()
        begin = time.perf_counter()
        await ours.grade(work.conversations(range(2 * COMPLETIONS)))
        speed = 2 * COMPLETIONS / (time.perf_counter() - begin)
        click.echo(f"wall: {model.name}, engine in process: book {speed:.3f} completions/s", err=True)
    finally:
        await ours.grader.close()
