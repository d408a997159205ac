"""Whether every row of the dataset can be rewarded.

    dataset, one pass -> faults of rows, distinct labels -> one sample each to the service -> Finding

Every row's label is read here as the service reads it. What it names is the service's to judge: grading every
row would cost as much as an epoch, so one row of each distinct label is asked.
"""

import asyncio
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbr_trainer.client import Client
from rbr_trainer.data import label, rows
from rbr_trainer.errors import InputError, Refused
from rbr_trainer.preflight.finding import Finding
from rbr_trainer.preflight.plan import Plan
from rbr_trainer.preflight.texts import PROMPT, REFUSAL
from rbr_trainer.preflight.wire import patient
from rbr_trainer.progress import Progress

LABELS, EVALUATION = "dataset", "evaluation"
MOST = 256  # distinct labels; a dataset with more names the wrong column
TOLD = 5  # faults that are told one by one
AT_ONCE = 16  # labels asked at a time


@dataclass
class Seen:
    """Rows whose labels are alike: how many, and the one that is asked."""

    number: int
    label: Any
    rows: int = 1


@dataclass
class Survey:
    """What one pass over a dataset found. `faults`: (line or row number, what is wrong)."""

    path: Path
    rows: int = 0
    labels: dict[Hashable, Seen] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def told(self) -> list[str]:
        """The first faults, by file and line."""
        lines = [f"{self.path}:{number}: {fault}" for number, fault in sorted(self.faults)[:TOLD]]
        more = len(self.faults) - TOLD
        return [*lines, f"{self.path}: and {more} more faults"] if more > 0 else lines


async def labels(plan: Plan, path: Path, base_reward: str, name: str = LABELS) -> Finding:
    """A dataset's finding; `base_reward`: the service's source of it. Raises InputError, ServiceError."""
    survey = read(plan, path, base_reward)
    async with patient(plan.addresses[0], plan.answer_limit) as client:
        gate = asyncio.Semaphore(AT_ONCE)
        with Progress("labels", len(survey.labels), "labels") as progress:

            async def one(seen: Seen) -> None:
                async with gate:
                    survey.faults.extend(await _asked(client, seen))
                progress.step()

            await asyncio.gather(*map(one, survey.labels.values()))
    told = survey.told()
    if not survey.rows and not told:
        told = [f"{path}: has no rows"]
    detail = f"{survey.rows} rows with {len(survey.labels)} distinct labels, one sample of each asked"
    return Finding(name, not told, "\n".join([detail, *told]), "\n".join(told))


def read(plan: Plan, path: Path, base_reward: str) -> Survey:
    """One pass over the dataset. Raises InputError for the file, and for too many distinct labels."""
    survey = Survey(path)
    for number, row in counted(path, (plan.input_key, plan.label_key), "dataset"):
        survey.rows += 1
        try:
            _take(survey, number, _label(row, plan), base_reward)
        except InputError as error:
            survey.faults.append((number, str(error)))
        if len(survey.labels) > MOST:
            raise InputError(
                f"{path}:{number}: over {MOST} distinct labels up to here: is {plan.label_key!r} the label's "
                "column (--data.label_key)? Labels name a response type or a category"
            )
    return survey


def counted(path: Path, columns: tuple[str, ...], what: str) -> Iterator[tuple[int, Any]]:
    """The rows of a dataset, with a progress bar. Raises InputError for the file."""
    with Progress(what, rows.count(path), "rows") as progress:
        for number, row in rows.read(path, columns):
            yield number, row
            progress.step()


def _label(row: rows.Row | InputError, plan: Plan) -> Any:
    """A row's label, if the trainer can read the row. Raises InputError."""
    if isinstance(row, InputError):
        raise row
    for key, option in ((plan.input_key, "--data.input_key"), (plan.label_key, "--data.label_key")):
        if key not in row:
            raise InputError(f"has no {key!r}: name the column ({option})")
    given = row[plan.input_key]
    if not (isinstance(given, str) or (plan.apply_chat_template and turns(given))):
        wanted = (
            "a text or messages" if plan.apply_chat_template else "a text, as no chat template is applied"
        )
        raise InputError(f"{plan.input_key!r} is not {wanted}")
    return row[plan.label_key]


def turns(given: Any) -> list[dict[str, str]] | None:
    """Messages as a chat template needs them; None for what is none."""
    if not isinstance(given, list) or not given or not all(isinstance(turn, dict) for turn in given):
        return None
    made = [{name: turn.get(name) for name in ("role", "content")} for turn in given]
    return made if all(isinstance(text, str) for turn in made for text in turn.values()) else None


def _take(survey: Survey, number: int, raw: Any, base_reward: str) -> None:
    """Count a label in. Raises InputError."""
    found = label.parse(raw)
    if found.base_reward is not None and base_reward != "given":
        raise InputError(
            f"the label brings a base_reward, and the service takes it from {base_reward!r}: start the "
            "service with --base-reward given, or leave it out of the labels"
        )
    alike = (found.response_type or None, found.category, found.base_reward is None, found.messages is None)
    survey.labels.setdefault(alike, Seen(number, raw, 0)).rows += 1


async def _asked(client: Client, seen: Seen) -> list[tuple[int, str]]:
    """What the service has against a label: nothing, or one fault. Raises Unavailable, Unsound."""
    try:
        await client.rewards(PROMPT + REFUSAL, PROMPT, seen.label)
    except Refused as error:
        alike = f" (so do {seen.rows - 1} more rows)" if seen.rows > 1 else ""
        return [(seen.number, f"{error}{alike}")]
    return []
