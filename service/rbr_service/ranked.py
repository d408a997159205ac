"""Ranked completions as files hold them: what `rbr synthesize` writes and `rbr fit` reads.

    one line: {"id", "response_type", "category"?, "prompt": [messages], "completions": [
                 {"class", "content", "propositions"?, "graded_class"?, "base_reward"?}, ...]}

`class` is the class that the completion was written to be in, `propositions` what its writer meant to be
true and false of it, `graded_class` the most probable class by the grader that looked at it then.

A completion with `propositions` is ranked by what the policy's rules make of them now, so that a changed
rule needs no new labels; what they leave open, such as a new proposition, the grader decides.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from rbr_service import rows
from rbr_service.completion import clean
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError
from rbr_service.labels import BaseReward, Fields, MessageIn
from rbr_service.rbr.policy import Policy, ResponseType, digest
from rbr_service.rbr.ranked import Floats, Ints


class RankedCompletion(Fields):
    """A completion, its class, and what is known of it. A proposition that is null is left open."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    rank_class: str = Field(alias="class")
    content: str
    propositions: dict[str, bool | None] | None = None
    graded_class: str | None = None
    base_reward: BaseReward | None = None


class RankedPrompt(Fields):
    """One line of ranked data: a prompt and completions of different classes. Other columns are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str
    response_type: str
    category: str | None = None
    prompt: list[MessageIn]
    completions: Annotated[Sequence[RankedCompletion], Field(min_length=2)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One completion of a file. `place` is file:line; `prompt` is equal for equal prompts."""

    place: str
    prompt: str
    category: str | None
    conversation: Conversation
    completion: RankedCompletion


def read(
    path: Path, policy: Policy, *, given: bool, report: Callable[[str], None] = lambda _: None
) -> dict[str, list[Entry]]:
    """The completions of each response type. Raises DataError that names the line.

    `given`: whether completions bring their base reward. `report` is told of propositions that the policy
    does not know (any more).
    """
    found: dict[str, list[Entry]] = {name: [] for name in policy.response_types}
    strangers: Counter[str] = Counter()
    for number, row in rows.read(path):
        with rows.placed(path, number):
            prompt = RankedPrompt.model_validate(rows.whole(row))
            kind = policy.resolve(prompt.response_type)
        place = f"{path}:{number}"
        if kind is None:
            raise DataError(f"{place}: {prompt.response_type!r} is out of the policy's scope")
        turns = tuple(message.message() for message in prompt.prompt)
        key = digest([[turn.role, turn.content] for turn in turns])
        for completion in prompt.completions:
            _check(place, kind, completion, given=given)
            strangers.update((completion.propositions or {}).keys() - policy.file.propositions.keys())
            with rows.placed(path, number):
                text = clean(completion.content, strip_reasoning=True, allow_empty=True)
            entry = Entry(place, key, prompt.category, Conversation(turns, text), completion)
            found[kind.name].append(entry)
    for name, count in sorted(strangers.items()):
        report(f"{path}: the policy {policy.name!r} has no proposition {name!r}: passed over {count} times")
    return found


def _check(place: str, kind: ResponseType, completion: RankedCompletion, *, given: bool) -> None:
    if completion.rank_class not in kind.classes and not _decided(kind, _meant(kind, completion)[None])[0]:
        raise DataError(
            f"{place}: {completion.rank_class!r} is not a class of {kind.name!r}: {', '.join(kind.classes)}"
        )
    if (completion.base_reward is not None) != given:
        what = "lacks its base_reward" if given else "brings a base_reward that is not asked for"
        raise DataError(f"{place}: a completion {what}: only --base-reward given takes them from the data")


def labels(kind: ResponseType, entries: Sequence[Entry]) -> Floats:
    """(n, len(kind.propositions)) what the writers meant: 0, 1 or NaN where they left it open."""
    return np.array([_meant(kind, entry.completion) for entry in entries]).reshape(-1, len(kind.propositions))


def _meant(kind: ResponseType, completion: RankedCompletion) -> Floats:
    meant = completion.propositions or {}
    return np.array([meant.get(name) for name in kind.propositions], dtype=float)  # None is NaN


def _decided(kind: ResponseType, meant: Floats) -> NDArray[np.bool_]:
    """(n,) whether what was meant (n, propositions) decides the class by itself; sums of halves are exact."""
    known = np.where(np.isnan(meant), 0.5, meant)[:, : len(kind.diagram.variables)]
    return np.asarray(kind.diagram.of_rows(known).max(axis=1) == 1.0)


def ranks(
    kind: ResponseType, entries: Sequence[Entry], p: Floats, report: Callable[[str], None] = lambda _: None
) -> Ints:
    """(n,) the class of each completion, 0 the best.

    By what was meant to be true of it; P (n, len(kind.propositions)) decides what that leaves open, and
    the written class where nothing is said. `report` is told how many differ from their written class.
    """
    meant = labels(kind, entries)
    values = np.where(np.isnan(meant), p >= 0.5, meant)[:, : len(kind.diagram.variables)]
    by_rules = kind.diagram.of_rows(values).argmax(axis=1)
    places = {name: rank for rank, name in enumerate(kind.classes)}
    written = np.array([places.get(e.completion.rank_class, -1) for e in entries], dtype=np.intp)
    said = ~np.isnan(meant).all(axis=1)
    found = np.where(said, by_rules, written).astype(np.intp)
    if graded := int((said & ~_decided(kind, meant)).sum()):
        report(
            f"{kind.name}: {graded} completions whose propositions leave their class open: the grader decides"
        )
    if changed := int((found != written).sum()):
        report(f"{kind.name}: {changed} completions ranked otherwise than written: so the rules are now")
    return found
