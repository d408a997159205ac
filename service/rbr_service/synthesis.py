"""`rbr synthesize`: for each prompt completions of several classes, written to order and checked.

    prompt -> wanted classes -> brief -> writer -> grader -> the class asked for? -> journal -> output

A completion is kept if the grader finds the class that was asked for, else another one is written, a few
times. What a prompt's random choices depend on is the seed and its content, not when it was its turn: so
a run that was killed ends with the bytes of one that was not, if its writer always writes the same.
"""

import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbr_service import jsontext
from rbr_service.completion import clean
from rbr_service.conversation import Conversation
from rbr_service.errors import RequestError
from rbr_service.files import write
from rbr_service.graders.base import Grader, GradeRequest
from rbr_service.journal import Journal, journal, journal_path
from rbr_service.prompts import Prompt, Prompts
from rbr_service.ranked import RankedPrompt
from rbr_service.rbr import briefs
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.policy import ResponseType
from rbr_service.together import as_done, together
from rbr_service.writers.base import CannotWrite, Writer

BETWEEN = 2  # completions of classes between the best and the worst, unless classes are named


@dataclass(frozen=True)
class Wish:
    """What is asked for. `classes`: one completion each, None for best, BETWEEN others and worst."""

    classes: tuple[str, ...] | None = None
    tries: int = 4
    unfiltered: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Yield:
    """Completions of one class: `attempts` = `kept` + `rejected` + `refused`.

    `rejected` were of another class by the grader, or beyond its judgement; `refused` the writer could not
    write. Each of those `asked` for has one attempt or more, so that the rest of the attempts are retries.
    `disputed` are kept although the grader disagrees (only where nothing is filtered).
    """

    asked: int = 0
    attempts: int = 0
    kept: int = 0
    rejected: int = 0
    refused: int = 0
    disputed: int = 0

    def __add__(self, other: "Yield") -> "Yield":
        return Yield(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass
class Summary:
    """What became of the prompts. `yields`: response type -> class -> Yield.

    `left_out` have fewer than two classes; rows `out_of_scope` and `repeated` were never among the prompts.
    """

    prompts: int
    out_of_scope: int
    repeated: int
    written: int
    completions: int
    left_out: int
    yields: dict[str, dict[str, Yield]]


class Judge:
    """A grader, and what it takes to have a class from it."""

    def __init__(self, grader: Grader, calibration: Calibration | None, least_mass: float) -> None:
        """A verdict with less than `least_mass` of probability on yes and no is no answer."""
        self._grader, self._calibration, self._least_mass = grader, calibration, least_mass

    async def class_of(self, kind: ResponseType, conversation: Conversation) -> str | None:
        """The most probable class; None where the grader has no answer. Raises GraderError."""
        (grade,) = await self._grader.grade([GradeRequest(conversation, kind.propositions)])
        if isinstance(grade, RequestError) or any(v.label_mass < self._least_mass for v in grade.verdicts):
            return None
        p = np.array([[verdict.p for verdict in grade.verdicts]])
        if self._calibration:
            p = self._calibration.apply(kind.propositions, p)
        classes = kind.diagram.of_rows(p[:, : len(kind.diagram.variables)])
        return kind.classes[int(classes.argmax())]


class Synthesizer:
    """Writes the completions of one prompt after the other."""

    def __init__(self, writer: Writer, judge: Judge, wish: Wish) -> None:
        """All parts started."""
        self._writer, self._judge, self._wish = writer, judge, wish

    async def row(self, index: int, prompt: Prompt) -> dict[str, Any]:
        """The journal's line of the prompt: its completions, and the yield of each class asked for.

        Raises WriterError, GraderError.
        """
        origin = (self._wish.seed, int(prompt.content[:32], 16))
        wanted = classes(prompt.kind, self._wish.classes, np.random.default_rng(origin))
        slots = await together(
            self._slot(prompt, name, np.random.default_rng((*origin, number)))
            for number, name in enumerate(wanted)
        )
        yields: dict[str, Yield] = {}
        for name, (_, made) in zip(wanted, slots, strict=True):
            yields[name] = yields.get(name, Yield()) + made
        return {
            "index": index,
            "completions": [completion for completion, _ in slots if completion],
            "yields": {name: asdict(made) for name, made in yields.items()},
        }

    async def _slot(
        self, prompt: Prompt, wanted: str, rng: np.random.Generator
    ) -> tuple[dict[str, Any] | None, Yield]:
        """A completion of the wanted class, None where no try gave one."""
        made = Yield(asked=1)
        for _ in range(self._wish.tries):
            brief = briefs.sample(prompt.kind, wanted, rng)
            written = await self._writer.write(brief, prompt.messages, int(rng.integers(2**31)))
            text = None if isinstance(written, CannotWrite) else _bare(written.text)
            if isinstance(written, CannotWrite) or text is None:
                made += Yield(attempts=1, refused=1)
                continue
            graded = await self._judge.class_of(prompt.kind, Conversation(prompt.messages, text))
            if graded != wanted and not self._wish.unfiltered:
                made += Yield(attempts=1, rejected=1)
                continue
            completion = {"class": wanted, "content": text, "propositions": written.propositions}
            made += Yield(attempts=1, kept=1, disputed=int(graded != wanted))
            return completion | ({"graded_class": graded} if graded else {}), made
        return None, made


def classes(kind: ResponseType, named: Sequence[str] | None, rng: np.random.Generator) -> list[str]:
    """The classes that a prompt's completions are to be of: those named that the type has, best first.

    Without names the best, BETWEEN others, different ones if there are so many, and the worst.
    """
    if named is not None:
        return sorted((name for name in named if name in kind.classes), key=kind.classes.index)
    best, *between, worst = kind.classes
    chosen = rng.choice(len(between), BETWEEN, replace=len(between) < BETWEEN) if between else ()
    return [best, *(between[i] for i in sorted(chosen)), worst]


async def synthesize(
    prompts: Prompts, output: Path, sft: Path | None, figures: Path | None, synthesizer: Synthesizer,
    binding: dict[str, Any], *, concurrency: int, progress: Callable[[int, int], None],
) -> Summary:  # fmt: skip
    """Write the completions of all prompts to `output`, the ideal ones as conversations to `sft`.

    `figures` is where the summary goes, as JSON; `binding` what a resumed run must share; `concurrency`
    prompts are worked on at a time; `progress` is told (prompts done, prompts in all). Raises WriterError,
    GraderError and OutputError (run again to go on), DataError.
    """
    with journal(journal_path(output), binding | {"prompts": prompts.digest}) as kept:
        done = {json.loads(line)["index"] for line in kept.lines()}
        progress(len(done), len(prompts.found))
        left: Iterable[Coroutine[Any, Any, dict[str, Any]]] = (
            synthesizer.row(index, prompt) for index, prompt in enumerate(prompts.found) if index not in done
        )
        async with aclosing(as_done(left, concurrency)) as rows:
            async for row in rows:
                kept.append([jsontext.line(row)])
                done.add(row["index"])
                progress(len(done), len(prompts.found))
        summary = _finish(prompts, kept, output, sft, figures)
        kept.path.unlink()
    return summary


def _bare(text: str) -> str | None:
    """A reply as graders and trainers see it, without the model's reasoning; None where that never ends."""
    try:
        return clean(text, strip_reasoning=True, allow_empty=True)
    except RequestError:
        return None


def _finish(prompts: Prompts, kept: Journal, output: Path, sft: Path | None, figures: Path | None) -> Summary:
    """All is made before the first file is written, and the output last."""
    rows = sorted(map(json.loads, kept.lines()), key=lambda row: int(row["index"]))
    summary = Summary(len(prompts.found), prompts.out_of_scope, prompts.repeated, 0, 0, 0, {})
    lines: list[bytes] = []
    ideal: list[bytes] = []
    for prompt, row in zip(prompts.found, rows, strict=True):
        _count(summary, prompt.kind, row["yields"])
        best = (one for one in row["completions"] if one["class"] == prompt.kind.classes[0])
        ideal.extend(_conversation(prompt, one["content"]) for one in best)
        if len({one["class"] for one in row["completions"]}) < 2:
            summary.left_out += 1
            continue
        summary.written += 1
        summary.completions += len(row["completions"])
        lines.append(_ranked(prompt, row["completions"]))
    if figures:
        write(figures, json.dumps(asdict(summary), indent=1) + "\n")
    if sft:
        write(sft, b"".join(ideal))
    write(output, b"".join(lines))
    return summary


def _count(summary: Summary, kind: ResponseType, yields: dict[str, dict[str, int]]) -> None:
    found = summary.yields.setdefault(kind.name, {})
    for name, counts in yields.items():
        found[name] = found.get(name, Yield()) + Yield(**counts)


def _conversation(prompt: Prompt, content: str) -> bytes:
    turns = [*map(asdict, prompt.messages), {"role": "assistant", "content": content}]
    return jsontext.line({"messages": turns})


def _ranked(prompt: Prompt, completions: list[dict[str, Any]]) -> bytes:
    row = RankedPrompt.model_validate(
        {
            "id": prompt.id,
            "response_type": prompt.kind.name,
            "category": prompt.category,
            "prompt": [asdict(message) for message in prompt.messages],
            "completions": completions,
        }
    )
    return jsontext.line(row.model_dump(by_alias=True, exclude_none=True))
