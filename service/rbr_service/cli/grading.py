"""Grading a whole file's worth, with a bar on the terminal."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
import numpy as np

from rbr_service import ranked
from rbr_service.errors import RequestError, whole
from rbr_service.graders.base import Grade, Grader, GradeRequest
from rbr_service.ranked import Entry
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.policy import ResponseType
from rbr_service.rbr.ranked import Floats, Ranked, codes
from rbr_service.rewards.base import BaseReward, RewardRequest

CHUNK = 128  # texts in one grade call

Simulated = Callable[[Entry, int], float]  # the base reward of a completion of a rank


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
    simulated: Simulated | None = None


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

    Those about which the grader has no answer are left out, and said to be. Raises GraderError,
    BaseRewardError, or the RequestError of a text that cannot be graded, naming its line.
    """
    asked = [GradeRequest(entry.conversation, kind.propositions) for entry in entries]
    paid = [RewardRequest(entry.conversation, entry.completion.base_reward) for entry in entries]
    try:
        found = await grades(judges.grader, asked, label)
        base = whole(await judges.base.rewards(paid))
    except RequestError as error:
        if "entry" in error.details:
            error.message = f"{entries[error.details['entry']].place}: {error.message}"
        raise
    sure = [
        i for i, grade in enumerate(found) if all(v.label_mass >= judges.least_mass for v in grade.verdicts)
    ]
    if len(sure) < len(entries):
        click.echo(
            f"rbr: {kind.name}: {len(entries) - len(sure)} of {len(entries)} completions left out, the "
            f"grader put less than {judges.least_mass:g} of probability on yes and no",
            err=True,
        )
    p = np.array([[v.p for v in found[i].verdicts] for i in sure]).reshape(-1, len(kind.propositions))
    return _table(kind, [entries[i] for i in sure], p, np.array([base[i] for i in sure]), judges)


def _table(kind: ResponseType, entries: list[Entry], p: Floats, base: Floats, judges: Judges) -> Graded:
    if judges.calibration:
        p = judges.calibration.apply(kind.propositions, p)
    ranks = ranked.ranks(kind, entries, p)
    if judges.simulated:
        pairs = zip(entries, ranks, strict=True)
        base = np.array([judges.simulated(entry, int(rank)) for entry, rank in pairs])
    prompts = codes([entry.prompt for entry in entries])
    return Graded(kind, entries, Ranked(kind, prompts, ranks, p, base), ranked.labels(kind, entries))
