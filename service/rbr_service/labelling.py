"""Labelling by a person, without the terminal: what is asked, what was answered, the gold rows.

    IN -> [Task] -> Labelling (a place among all questions; each move is in the journal) -> gold rows

The journal holds moves, not rows, so that a run that was killed goes on at the question it had on the
screen. It stays beside the output: labels cost a person's time, so what is finished can still be corrected
and is never begun anew by mistake.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from rbr_service import jsontext, rows
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError, RequestError
from rbr_service.journal import Journal
from rbr_service.rbr.policy import Policy, ResponseType, digest
from rbr_service.reading import Reader

Asked = Callable[[ResponseType], Collection[str]]  # the propositions to ask about


@dataclass(frozen=True, slots=True)
class Task:
    """A completion to label: `questions` name what is asked, `given` holds labels that are kept."""

    line: int
    id: str | int | None
    category: str | None
    response_type: str
    conversation: Conversation
    questions: tuple[str, ...]
    given: Mapping[str, bool]


@dataclass
class Passed:
    """Rows that are not labelled: out of the policy's scope, and bad ones."""

    out_of_scope: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A proposition about one task's completion; `row` and `number` count from 1.

    `label` is what was said before, None for skipped, where `answered`.
    """

    task: Task
    row: int
    number: int
    proposition: str
    answered: bool
    label: bool | None


def read(
    source: Path, policy: Policy, reader: Reader, asked: Asked, report: Callable[[str], None],
    *, only_missing: bool,
) -> tuple[list[Task], Passed]:  # fmt: skip
    """The rows of `source` as tasks; `report` is told of bad ones. Raises DataError for the file.

    `only_missing` keeps the labels that rows bring and asks about the other propositions.
    """
    tasks, passed = [], Passed()
    for line, row in rows.read(source):
        try:
            task = _task(line, rows.whole(row), policy, reader, asked, only_missing=only_missing)
        except RequestError as error:
            report(f"{source}:{line}: {error.message}")
            passed.bad += 1
            continue
        if task:
            tasks.append(task)
        else:
            passed.out_of_scope += 1
    if not tasks:
        found = f"{passed.out_of_scope} out of the policy's scope, {passed.bad} bad"
        raise DataError(f"{source}: holds no row to label: {found}")
    return tasks, passed


def _task(
    line: int, row: dict[str, Any], policy: Policy, reader: Reader, asked: Asked, *, only_missing: bool
) -> Task | None:
    """A row's task, None out of the policy's scope. Raises RequestError."""
    given = rows.sample(row)
    sample = reader.row(given)
    kind = policy.resolve(sample.label)
    if kind is None:
        return None
    category = given.category or (given.response_type if given.response_type in policy.categories else None)
    kept = labelled(row, policy.file.propositions) if only_missing else {}
    wanted = set(asked(kind)) - kept.keys()
    questions = tuple(name for name in policy.file.propositions if name in wanted)
    return Task(line, given.id, category, kind.name, sample.conversation, questions, kept)


def labelled(row: Mapping[str, Any], known: Collection[str] | None = None) -> dict[str, bool]:
    """The labels that a gold row has. Raises RequestError for other values, and names not in `known`."""
    given = row.get("propositions") or {}
    if not isinstance(given, dict) or not all(v is None or isinstance(v, bool) for v in given.values()):
        raise RequestError("propositions must be an object of true, false and null")
    unknown = given.keys() - known if known is not None else ()
    if unknown:
        raise RequestError(f"propositions: the policy has no {min(unknown)!r}")
    return {name: value for name, value in given.items() if value is not None}


def sampled(tasks: Sequence[Task], number: int, seed: int) -> list[Task]:
    """`number` of the tasks, or all if there are fewer, in their order."""
    chosen = Random(seed).sample(range(len(tasks)), min(number, len(tasks)))
    return [tasks[i] for i in sorted(chosen)]


def binding(tasks: Sequence[Task], policy: Policy, annotator: str | None) -> dict[str, Any]:
    """What a run that goes on must share: the same questions, as they read, about the same texts."""
    names = {name for task in tasks for name in task.questions}
    return {
        "tasks": digest([asdict(task) for task in tasks]),
        "questions": digest({name: policy.question_hashes[name] for name in names}),
        "annotator": annotator,
    }


class Labelling:
    """All questions in order, and a person's place among them."""

    def __init__(self, tasks: Sequence[Task], kept: Journal) -> None:
        """Goes on where the journal ends; `kept` must be of these tasks' `binding`."""
        self.tasks = tasks
        self._kept = kept
        self._asked = [(row, n) for row, task in enumerate(tasks) for n in range(len(task.questions))]
        self._said: dict[tuple[int, int], bool | None] = {}
        self._place = 0
        for line in kept.lines():
            self._move(json.loads(line))

    @property
    def question(self) -> Question | None:
        """The one to be answered next; None behind the last."""
        if self._place == len(self._asked):
            return None
        row, n = at = self._asked[self._place]
        task = self.tasks[row]
        return Question(task, row + 1, n + 1, task.questions[n], at in self._said, self._said.get(at))

    @property
    def left(self) -> int:
        """How many questions have no answer yet."""
        return len(self._asked) - len(self._said)

    def answer(self, label: bool | None) -> None:
        """Answer the question and go on; None leaves it unlabelled. On disk when this returns."""
        self._keep({"answer": label})

    def back(self) -> None:
        """Return to the question before, if there is one."""
        if self._place:
            self._keep({"back": True})

    def _keep(self, move: dict[str, bool | None]) -> None:
        question = self.question
        place = {"line": question.task.line, "proposition": question.proposition} if question else {}
        self._kept.append([jsontext.line(place | move)])
        self._move(move)

    def _move(self, move: Mapping[str, Any]) -> None:
        if "back" in move:
            self._place -= 1
        else:
            self._said[self._asked[self._place]] = move["answer"]
            self._place += 1

    def gold(self, propositions: Iterable[str], annotator: str | None) -> Iterator[dict[str, Any]]:
        """A row for each task that has a label; those of `propositions` without one are null."""
        names = list(propositions)
        for row, task in enumerate(self.tasks):
            said = {name: self._said.get((row, n)) for n, name in enumerate(task.questions)}
            found = {**task.given, **{name: label for name, label in said.items() if label is not None}}
            if found:
                yield _gold(task, {name: found.get(name) for name in names}, annotator)


def _gold(task: Task, said: dict[str, bool | None], annotator: str | None) -> dict[str, Any]:
    row = {
        "category": task.category,
        "response_type": task.response_type,
        "prompt": [asdict(message) for message in task.conversation.prompt],
        "completion": [{"role": "assistant", "content": task.conversation.completion}],
        "propositions": said,
    }
    named = {"id": task.id, "annotator": annotator}
    return row | {name: value for name, value in named.items() if value is not None}
