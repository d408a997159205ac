"""Tokens that the engine computes for one completion, by layout, counted by the engine.

Two counts that must agree: prompt tokens less the cached tokens that vLLM tells with each answer, and
vLLM's own counter. The model is small, for counts do not depend on it. Counted once the book is in the
cache, completions one after another; for the book others all at once are told as well.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import click

from rbr_service.conversation import Conversation
from rbr_service.graders.vllm import VLLMEngine

from . import counters, shapes, workload
from .figures import Figure
from .grading import Grading
from .workload import Workload

ALONE = range(100, 100 + workload.BLOCK)  # completions; one for each place of a block where it can end
CROWDED = range(200, 200 + workload.BLOCK)
FEW = range(100, 100 + workload.BLOCK, 4)  # are enough where questions are long
CONTEXT = 16384
UNTIL_COUNTED = 0.3  # seconds: vLLM counts after it has answered
MOST, TIMES_FEWER = 2100, 15
LAYOUTS = {"book": "book", "conversation_first": "conversation-first", "released": "released"}

Counts = dict[str, float]


def measure() -> list[Figure]:
    """Tokens per completion: with prefix caching for each layout, and for the released one without."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        model = shapes.language_model(folder / "language", shapes.SMALL)
        works = [workload.synthetic(folder / "synthetic"), workload.shipped(folder / "shipped")]
        synthetic, shipped = asyncio.run(_counted(model, works))
    click.echo(_shown(shipped, len(works[1].asked)))
    uncached = synthetic["released_uncached"]
    limits = {"book": min(MOST, uncached / TIMES_FEWER), "released_uncached": float("inf")}
    return [
        Figure(f"tokens_per_completion.{key}", value, limits.get(key, uncached), "tokens the engine computes")
        for key, value in synthetic.items()
    ]


async def _counted(model: Path, works: Sequence[Workload]) -> list[Counts]:
    async with _engine(model, caching=True) as engine:
        found = [await _cached(engine, work) for work in works]
    async with _engine(model, caching=False) as engine:
        for work, counts in zip(works, found, strict=True):
            told = await _spent(Grading(engine, work, "released"), [work.conversations(FEW)])
            counts["released_uncached"] = told
            click.echo(f"tokens: {'released_uncached':<20} {told:>9,.0f}", err=True)
    return found


async def _cached(engine: VLLMEngine, work: Workload) -> Counts:
    """Tokens per completion by layout, of completions one after another."""
    counts = {}
    for key, name in LAYOUTS.items():
        grading = Grading(engine, work, name)
        await grading.grade(work.conversations(range(2)))
        numbers = ALONE if key == "book" else FEW
        counts[key] = await _spent(grading, [[one] for one in work.conversations(numbers)])
        click.echo(f"tokens: {key:<20} {counts[key]:>9,.0f}", err=True)
        if key == "book":
            crowded = await _spent(grading, [work.conversations(CROWDED)])
            click.echo(f"tokens: book, {len(CROWDED)} at once     {crowded:>9,.0f}", err=True)
            click.echo(_explained(grading, work, counts[key]), err=True)
    return counts


@asynccontextmanager
async def _engine(model: Path, *, caching: bool) -> AsyncIterator[VLLMEngine]:
    args = {"max_model_len": CONTEXT, "enforce_eager": True, "enable_prefix_caching": caching}
    engine = VLLMEngine(str(model), precision="float32", args=args)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


async def _spent(grading: Grading, batches: Sequence[Sequence[Conversation]]) -> float:
    """Computed tokens per completion. Raises AssertionError where the two counts differ."""
    told, counted = grading.computed, counters.in_process()
    for batch in batches:
        await grading.grade(batch)
    await asyncio.sleep(UNTIL_COUNTED)
    told, counted = grading.computed - told, counters.in_process() - counted
    assert told == counted.computed, f"vLLM tells {told} computed tokens and counts {counted.computed}"
    return told / sum(map(len, batches))


def _explained(grading: Grading, work: Workload, computed: float) -> str:
    """Where a book's tokens go. What all questions begin with may still fill a block that they share."""
    written = [grading.prompts(one) for one in work.conversations(ALONE)]
    common = _common(written[0].endings)
    question = mean(len(ending) for one in written for ending in one.endings) - common
    rest = mean((len(one.shared) + common) % workload.BLOCK for one in written)
    asked = len(work.asked)
    talk = computed - asked * (question + rest)
    return (
        f"tokens: book: {asked} x ({rest:.1f} of the block in which a question begins + {question:.1f} of "
        f"the question and the template's end) + {talk:.0f} of the conversation"
    )


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many items all rows begin with alike."""
    alike = [len(set(column)) == 1 for column in zip(*rows, strict=False)]
    return alike.index(False)


def _shown(counts: Counts, asked: int) -> str:
    """The shipped policy's counts, as the README has them."""
    rows = [f"| {key.replace('_', ' ')} | {value:,.0f} |" for key, value in counts.items()]
    head = f"safety policy, {asked} questions of {workload.TYPE}, a conversation of 600 tokens:"
    return "\n".join([head, "", "| layout | tokens per completion |", "|---|---|", *rows, ""])
