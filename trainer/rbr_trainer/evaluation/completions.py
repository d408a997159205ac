"""Answers to prompts: read from files, written to them.

    rows: messages ending in the assistant's, or prompt and completion; a label, a class -> [Completion]

Rows are those of `rbr score`, which reads what is written here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbr_trainer.data import rows
from rbr_trainer.data.files import replacing
from rbr_trainer.data.label import Label, Message, validated
from rbr_trainer.data.policy import AUTO, OUT_OF_SCOPE
from rbr_trainer.data.prompts import Prompt, Reader, at
from rbr_trainer.errors import InputError
from rbr_trainer.progress import Progress


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt's answer. `cut`: its writer had no room for more; `truth`: its class; None: not known."""

    prompt: Prompt
    text: str
    cut: bool | None = None
    truth: str | None = None

    @property
    def sample(self) -> rows.Row:
        """As /v1/score takes it."""
        said = [*self.prompt.messages, Message(role="assistant", content=self.text)]
        base = {} if self.prompt.base_reward is None else {"base_reward": self.prompt.base_reward}
        messages = [message.model_dump() for message in said]
        return {"messages": messages, **self.prompt.names, **base}


def read(path: Path, reader: Reader, truth: str | None = None) -> list[Completion]:
    """The answers in a file; column `truth` holds their classes. Raises InputError that names the lines."""
    columns = (*reader.columns.read, "completion", "truncated", *([truth] if truth else []))
    with Progress(f"reading {path.name}", rows.count(path), "rows") as progress:

        def make(place: str, row: rows.Row) -> Completion:
            progress.step()
            return _completion(reader, place, row, truth)

        return list(rows.each(path, columns, make))


def write(path: Path, completions: Sequence[Completion]) -> None:
    """Write them as JSONL, whole or not at all. Raises TrainerError."""
    with replacing(path) as (partial,), partial.open("w", encoding="utf-8", newline="\n") as out:
        for one in completions:
            out.write(json.dumps({**one.sample, "truncated": one.cut}, ensure_ascii=False) + "\n")


def _completion(reader: Reader, place: str, row: rows.Row, truth: str | None) -> Completion:
    label = reader.label(row)
    *asked, answer = _messages(reader, row, label)
    if answer.role != "assistant":
        raise InputError("the last message must be the assistant's: the answer that is judged")
    if not asked:
        raise InputError("holds an answer and no prompt: add it")
    prompt = reader.labelled(place, row, label, tuple(asked))
    cut = row.get("truncated")
    known = cut if isinstance(cut, bool) else None
    return Completion(prompt, answer.content, known, _truth(reader, prompt, row, truth))


def _messages(reader: Reader, row: rows.Row, label: Label) -> tuple[Message, ...]:
    """The conversation: the prompt and `completion`, or messages that hold both."""
    answer = row.get("completion")
    if answer is not None:
        if isinstance(answer, str):
            answer = [{"role": "assistant", "content": answer}]
        if not isinstance(answer, list) or not answer:
            raise InputError("completion must hold a text or messages")
        said = validated(Label, {"messages": answer}).messages or ()
        asked = reader.messages(row, label)
        if asked[-1].role == "assistant":
            raise InputError(
                "has a completion, and a prompt that ends with the assistant's: leave one of them"
            )
        return asked + said
    column = reader.columns.prompt or "messages"
    value = at(row, column)
    if not isinstance(value, list) or not value:
        raise InputError(f"has no completion, and {column} holds no messages")
    return validated(Label, {"messages": value}).messages or ()


def _truth(reader: Reader, prompt: Prompt, row: rows.Row, column: str | None) -> str | None:
    if column is None or prompt.kind == OUT_OF_SCOPE:
        return None
    if prompt.kind == AUTO:
        raise InputError("has a class and no label: only the service can tell what it was to be")
    classes = reader.policy.response_types[prompt.kind]
    value = row.get(column)
    if value not in classes:
        raise InputError(f"{column} is {value!r}, and the classes of {prompt.kind} are {', '.join(classes)}")
    return str(value)
