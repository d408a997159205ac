"""Tokens that the engine computes for one completion, by layout, counted by the engine.

Two counts that must agree: prompt tokens less the cached tokens that vLLM tells with each answer, and
vLLM's own counter. The model is tiny, for counts do not depend on it. Counted once the book is in the
cache; completions come one after another, and then others all at once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from os.path import commonprefix
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import click

from rbr_service.conversation import Conversation
from rbr_service.encoder import Encoder
from rbr_service.graders.vllm import VLLMEngine
from tests.vllm import models

from . import counters, workload
from .figures import Figure
from .grading import Grading

COMPLETIONS = workload.BLOCK  # one for each place of a block where a conversation can end
UNCACHED = 4  # are enough where no place of a block matters
UNMEASURED = 2
CONTEXT = 16384
UNTIL_COUNTED = 0.3  # seconds: vLLM counts after it has answered
MOST, TIMES_FEWER = 2100, 15
KEYS = {"book": "book", "conversation-first": "conversation_first", "released": "released"}


def measure() -> list[Figure]:
    """Tokens per completion: with prefix caching for each layout, and for the released one without."""
    with TemporaryDirectory() as folder:
        model = models.language_model(Path(folder) / "language")
        found = asyncio.run(_counted(model))
    uncached = found["released_uncached"]
    limits = dict.fromkeys(found, uncached) | {"book": min(MOST, uncached / TIMES_FEWER)}
    limits["released_uncached"] = float("inf")
    return [
        Figure(f"tokens_per_completion.{key}", value, limits[key], "tokens the engine computes")
        for key, value in found.items()
    ]


async def _counted(model: Path) -> dict[str, float]:
    encoder, policy = Encoder.load(str(model)), workload.policy()
    found = {}
    async with _engine(model, caching=True) as engine:
        for name, key in KEYS.items():
            grading = Grading(engine, encoder, policy, name)
            found[key] = await _count(key, grading, COMPLETIONS)
            if name == "book":
                click.echo(_explained(grading, found[key]), err=True)
    async with _engine(model, caching=False) as engine:
        grading = Grading(engine, encoder, policy, "released")
        found["released_uncached"] = await _count("released_uncached", grading, UNCACHED)
    return found


@asynccontextmanager
async def _engine(model: Path, *, caching: bool) -> AsyncIterator[VLLMEngine]:
    args = {"max_model_len": CONTEXT, "enforce_eager": True, "enable_prefix_caching": caching}
    engine = VLLMEngine(str(model), precision="float32", args=args)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


async def _count(name: str, grading: Grading, completions: int) -> float:
    """Tokens per completion, one after another; the same all at once is only told."""
    await grading.grade(workload.conversations(UNMEASURED))
    alone = await _spent(grading, [[one] for one in workload.conversations(completions, 100)])
    crowded = await _spent(grading, [workload.conversations(completions, 200)])
    click.echo(f"tokens: {name:<20} {alone:>9,.0f} one by one {crowded:>9,.0f} all at once", err=True)
    return alone


async def _spent(grading: Grading, batches: Sequence[Sequence[Conversation]]) -> float:
    """Computed tokens per completion. Raises AssertionError where the two counts differ."""
    told, counted = grading.computed, counters.in_process()
    for batch in batches:
        await grading.grade(batch)
    await asyncio.sleep(UNTIL_COUNTED)
    told, counted = grading.computed - told, counters.in_process() - counted
    assert told == counted.computed, f"vLLM tells {told} computed tokens and counts {counted.computed}"
    return told / sum(map(len, batches))


def _explained(grading: Grading, computed: float) -> str:
    """Where a book's tokens go. What all questions begin with may still fill a block that they share."""
    written = [grading.prompts(one) for one in workload.conversations(COMPLETIONS, 100)]
    common = len(commonprefix([list(ending) for ending in written[0].endings]))
    question = mean(len(ending) for one in written for ending in one.endings) - common
    rest = mean((len(one.shared) + common) % workload.BLOCK for one in written)
    asked = len(grading.asked)
    return (
        f"tokens: book: {asked} x ({question:.1f} of a question and the template's end + {rest:.1f} of the block "
        f"it begins in) + {computed - asked * (question + rest):.0f} of the conversation"
    )
