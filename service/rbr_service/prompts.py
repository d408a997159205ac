"""The prompts that completions are written for.

    a file's rows, or the templates' own requests -> [Prompt], each once

Rows of types that nobody asked for, or out of the policy's scope, are left out and counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rbr_service import rows
from rbr_service.conversation import Message
from rbr_service.errors import DataError
from rbr_service.rbr.policy import Policy, ResponseType, digest
from rbr_service.writers import pieces
from rbr_service.writers.pieces import Templates


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for its answer. `content` is a hash of it and of the response type."""

    id: str
    kind: ResponseType
    category: str | None
    messages: tuple[Message, ...]

    @property
    def content(self) -> str:
        """The same for the same prompt, whatever its id and wherever it stands."""
        return _content(self.kind, self.messages)


@dataclass
class Prompts:
    """All prompts of a run, and how many rows of its file are none of them."""

    found: list[Prompt] = field(default_factory=list)
    out_of_scope: int = 0
    repeated: int = 0

    @property
    def digest(self) -> str:
        """Hash of the prompts in their order."""
        return digest([[prompt.id, prompt.category, prompt.content] for prompt in self.found])


def read(path: Path, policy: Policy, kinds: Iterable[ResponseType]) -> Prompts:
    """The prompts of a JSONL or Parquet file that are of one of `kinds`.

    A prompt that stands there twice counts once. Raises DataError that names the line.
    """
    wanted = {kind.name for kind in kinds}
    prompts, lines = Prompts(), dict[str, int]()
    seen: set[str] = set()
    for number, found in rows.read(path):
        with rows.placed(path, number):
            row = rows.prompt(rows.whole(found))
            label = row.response_type or row.category
            if policy.undecided(label):
                raise DataError(f"{path}:{number}: names neither a response type nor a category")
            kind = policy.resolve(label)
        if kind is None or kind.name not in wanted:
            prompts.out_of_scope += 1
            continue
        messages = tuple(message.message() for message in row.messages)
        content = _content(kind, messages)
        if content in seen:
            prompts.repeated += 1
            continue
        seen.add(content)
        name = content[:16] if row.id is None else str(row.id)
        if name in lines:
            raise DataError(
                f"{path}:{number}: the id {name!r} stands on line {lines[name]} for another prompt"
            )
        lines[name] = number
        category = row.category or (row.response_type if row.response_type in policy.categories else None)
        prompts.found.append(Prompt(name, kind, category, messages))
    return prompts


def of_templates(templates: Templates, kinds: Iterable[ResponseType], count: int, seed: int) -> Prompts:
    """Up to `count` of the templates' requests for each of `kinds`."""
    prompts = Prompts()
    for kind in kinds:
        for request in pieces.requests(templates, kind.name, seed)[:count]:
            messages = (Message("user", request.text),)
            prompts.found.append(Prompt(_content(kind, messages)[:16], kind, request.category, messages))
    return prompts


def _content(kind: ResponseType, messages: Iterable[Message]) -> str:
    return digest([kind.name, [[message.role, message.content] for message in messages]])
