"""Grading a whole file's worth, with a bar on the terminal."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
import numpy as np

from rbr_service import ranked
from rbr_service.cli.progress import say
from rbr_service.errors import RequestError, whole
from rbr_service.graders.base import Grade, Grader, GradeRequest
from rbr_service.ranked import Entry
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.policy import ResponseType
from rbr_service.rbr.ranked import Floats, Ranked, codes
from rbr_service.rewards.base import BaseReward, RewardRequest

CHUNK = 128  # texts in one grade call

Simulation = Callable[[Entry, int], float]  # a made-up base reward of a completion of a rank


@dataclass(frozen=True)
class Graded:
    """Completions of one response type with what the grader says of them, row by row."""

    kind: ResponseType
    entries: list[Entry]
    ranked: Ranked
    labels: Floats

    def take(self, rows: Sequence[int]) -> "Graded":
        """The completions at `rows`."""
        index = np.array(rows, dtype=np.intp)
        return Graded(self.kind, [self.entries[i] for i in rows], self.ranked.take(index), self.labels[index])


@dataclass(frozen=True)
class Judges:
    """Who says what a completion is worth: grader, calibration, base reward; all started."""

    grader: Grader
    calibration: Calibration | None
    base: BaseReward
    least_mass: float
    simulated: Simulation | None = None


async def grades(grader: Grader, requests: Sequence[GradeRequest], label: str) -> list[Grade]:
    """All grades, in order. Raises GraderError, or the RequestError of a text that cannot be graded."""
    found: list[Grade] = []
    with click.progressbar(length=len(requests), label=label, file=sys.stderr) as bar:
        for begin in range(0, len(requests), CHUNK):
            chunk = requests[begin : begin + CHUNK]
            found += whole(await grader.grade(chunk), begin)
            bar.update(len(chunk))
    return found


async def graded(kind: ResponseType, entries: list[Entry], judges: Judges, label: str) -> Graded:
    """Ranked completions with their features and base rewards.

    Those that cannot be graded or paid are left out, and said to be. Raises GraderError, BaseRewardError.
    """
    rows = await _judged(kind, entries, judges, label)
    kept = [i for i, row in enumerate(rows) if not isinstance(row, str)]
    why = [(entry.place, row) for entry, row in zip(entries, rows, strict=True) if isinstance(row, str)]
    if why:
        place, reason = why[0]
        _note(
            f"{kind.name}: {len(why)} of {len(entries)} completions left out, the first at {place}: {reason}"
        )
    p = np.array([row[0] for row in rows if not isinstance(row, str)]).reshape(-1, len(kind.propositions))
    base = np.array([row[1] for row in rows if not isinstance(row, str)])
    return _table(kind, [entries[i] for i in kept], p, base, judges)


async def _judged(
    kind: ResponseType, entries: list[Entry], judges: Judges, label: str
) -> list[tuple[list[float], float] | str]:
    """P of kind.propositions and the base reward of each completion, or why there is none."""
    rows: list[tuple[list[float], float] | str] = []
    with click.progressbar(length=len(entries), label=label, file=sys.stderr) as bar:
        for begin in range(0, len(entries), CHUNK):
            chunk = entries[begin : begin + CHUNK]
            asked = [GradeRequest(entry.conversation, kind.propositions) for entry in chunk]
            paid = [RewardRequest(entry.conversation, entry.completion.base_reward) for entry in chunk]
            found = zip(await judges.grader.grade(asked), await judges.base.rewards(paid), strict=True)
            rows += [_row(grade, base, judges.least_mass) for grade, base in found]
            bar.update(len(chunk))
    return rows


def _row(
    grade: Grade | RequestError, base: float | RequestError, least_mass: float
) -> tuple[list[float], float] | str:
    if isinstance(grade, RequestError):
        return grade.message
    if isinstance(base, RequestError):
        return base.message
    mass = min(verdict.label_mass for verdict in grade.verdicts)
    if mass < least_mass:
        return f"the grader put only {mass:.2g} of probability on yes and no, under {least_mass:g}"
    return [verdict.p for verdict in grade.verdicts], base


def _table(kind: ResponseType, entries: list[Entry], p: Floats, base: Floats, judges: Judges) -> Graded:
    if judges.calibration:
        p = judges.calibration.apply(kind.propositions, p)
    ranks = ranked.ranks(kind, entries, p, _note)
    if judges.simulated:
        pairs = zip(entries, ranks, strict=True)
        base = np.array([judges.simulated(entry, int(rank)) for entry, rank in pairs])
    prompts = codes([entry.prompt for entry in entries])
    return Graded(kind, entries, Ranked(kind, prompts, ranks, p, base), ranked.labels(kind, entries))


def _note(note: str) -> None:
    say(f"note: {note}")
