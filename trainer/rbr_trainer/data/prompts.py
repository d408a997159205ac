"""Prompts as files hold them, each with what the policy makes of its label.

    rows (see rows.py) -> Prompt(messages, names, kind) -> each once, or all that is wrong with file and line

A row holds `prompt` (a text or messages) or `messages`, and what it wants as `response_type`, `category` or
`label` (any form that the service reads). Other columns are passed over and end here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rbr_trainer.data import rows
from rbr_trainer.data.label import Label, Message, parse, validated
from rbr_trainer.data.policy import AUTO, OUT_OF_SCOPE, Policy
from rbr_trainer.errors import InputError
from rbr_trainer.progress import Progress

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for its answer.

    `names`: what its row says, by field (response_type, category), as the policy spells it; empty without a
    label. `kind` is the response type that comes of it, or out_of_scope, or auto where the service is to
    judge. `group`: the value of the column that whole groups are held out by. `place`: file and line.
    """

    messages: tuple[Message, ...]
    names: Mapping[str, str]
    kind: str
    base_reward: float | None
    group: str
    place: str

    @property
    def key(self) -> Key:
        """The same for the same prompt, whatever its label; outer white space does not count."""
        return tuple(message.key for message in self.messages)


@dataclass(frozen=True)
class Columns:
    """Where a row's values are. A name may lead into objects, as `reward_model.ground_truth` does.

    `prompt` and `label` None: the usual names. `default`: what rows without a label are. `unlabelled`: they
    may stay so. `group` "": there are no groups.
    """

    prompt: str | None = None
    label: str | None = None
    group: str = ""
    default: str | None = None
    unlabelled: bool = False

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that are read."""
        usual = ("prompt", "messages", "label", "response_type", "category", "base_reward")
        named = [name for name in (self.prompt, self.label, self.group) if name]
        return tuple(dict.fromkeys((*usual, *named, *(name.partition(".")[0] for name in named))))

    def with_default(self, name: str | None) -> "Columns":
        """The same for a file whose rows without a label are `name`."""
        return replace(self, default=name)


@dataclass(frozen=True)
class Reader:
    """Makes a Prompt of a row."""

    policy: Policy
    columns: Columns

    def prompt(self, place: str, row: rows.Row) -> Prompt:
        """Raises InputError for what is wrong with the row; the caller says where it stands."""
        label = self.label(row)
        messages = self.messages(row, label)
        if messages[-1].role == "assistant" or not messages[-1].content.strip():
            raise InputError(
                "the prompt must end with a message that is not empty and not the assistant's: "
                "take the answer out, or name the column of the prompt alone with --prompt-key"
            )
        return self.labelled(place, row, label, messages)

    def labelled(self, place: str, row: rows.Row, label: Label, messages: tuple[Message, ...]) -> Prompt:
        """Messages with what the row's label makes of them. Raises InputError."""
        names, kind = self._names(row, label)
        given = {"base_reward": row.get("base_reward")}
        column = validated(Label, given).base_reward
        if None not in (column, label.base_reward) and column != label.base_reward:
            raise InputError(f"base_reward is {column}, and {label.base_reward} in the label: remove one")
        base_reward = label.base_reward if column is None else column
        return Prompt(messages, names, kind, base_reward, self._group(row), place)

    def label(self, row: rows.Row) -> Label:
        """The label column's content; a row without it has an empty one. Raises InputError."""
        return parse(at(row, self.columns.label or "label"))

    def messages(self, row: rows.Row, label: Label) -> tuple[Message, ...]:
        """The prompt's column; where the row has none, the label's messages. Raises InputError."""
        column = self.columns.prompt or ("prompt" if row.get("prompt") is not None else "messages")
        value = at(row, column)
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        if value is None and label.messages:
            return label.messages
        if not isinstance(value, list) or not value:
            raise InputError(
                f"has no prompt: {column} must hold a text or messages (another column: --prompt-key)"
            )
        messages = validated(Label, {"messages": value}).messages or ()
        if label.messages and tuple(m.key for m in label.messages) != tuple(m.key for m in messages):
            raise InputError(f"the label's messages are not those of {column}: remove them from the label")
        return messages

    def _names(self, row: rows.Row, label: Label) -> tuple[dict[str, str], str]:
        given = [label.response_type, label.category]
        if not self.columns.label:
            given += [_text(row, "response_type"), _text(row, "category")]
        said = [name for name in given if name and name.strip()]
        if not said and self.columns.default is not None:
            said = [self.columns.default]
        if not said:
            return {}, self._unlabelled()
        meanings = {self.policy.meaning(name) for name in said}
        names = {meaning.field: meaning.name for meaning in meanings}
        kinds = {meaning.response_type for meaning in meanings}
        if len(kinds) > 1 or len(names) < len(meanings):
            listed = " and ".join(sorted(meaning.name for meaning in meanings))
            raise InputError(f"is labelled {listed}, which are not the same: leave one")
        return names, kinds.pop() or OUT_OF_SCOPE

    def _unlabelled(self) -> str:
        if not self.columns.unlabelled:
            raise InputError(
                "has no label: give response_type, category or label, or name their column with --label-key; "
                "--label NAME is for all rows without one, --unlabelled leaves them so"
            )
        if self.policy.unlabelled == AUTO:
            return AUTO
        return self.policy.resolve(None) or OUT_OF_SCOPE

    def _group(self, row: rows.Row) -> str:
        if not self.columns.group:
            return ""
        value = at(row, self.columns.group)
        if value is None or isinstance(value, (dict, list)):
            raise InputError(f"{self.columns.group} names no group: give a text or a number in every row")
        return str(value)


def read(path: Path, reader: Reader) -> list[Prompt]:
    """The prompts of a file, in its order. Raises InputError that names the lines."""
    with Progress(f"reading {path.name}", rows.count(path), "rows") as progress:

        def make(place: str, row: rows.Row) -> Prompt:
            progress.step()
            return reader.prompt(place, row)

        return list(rows.each(path, reader.columns.read, make))


def distinct(found: Iterable[Prompt]) -> list[Prompt]:
    """Each prompt once, the first of equal ones. Raises InputError where they want different things."""
    first: dict[Key, Prompt] = {}
    faults = []
    for prompt in found:
        other = first.setdefault(prompt.key, prompt)
        if (prompt.kind, prompt.base_reward) != (other.kind, other.base_reward):
            faults.append(
                f"{prompt.place}: {_wants(prompt)}, and the same prompt {_wants(other)} at {other.place}"
            )
    if faults:
        more = [f"and {len(faults) - rows.TOLD} more like these"] if len(faults) > rows.TOLD else []
        raise InputError("\n".join([*(f"{fault}: remove one" for fault in faults[: rows.TOLD]), *more]))
    return list(first.values())


def _wants(prompt: Prompt) -> str:
    base = "" if prompt.base_reward is None else f" with base reward {prompt.base_reward:g}"
    return f"wants {prompt.kind}{base}"


def at(row: rows.Row, column: str) -> Any:
    """A column's value, or what a dotted name leads to; None where there is none."""
    if column in row:
        return row[column]
    name, _, rest = column.partition(".")
    inner = row.get(name)
    return at(inner, rest) if rest and isinstance(inner, dict) else None


def _text(row: rows.Row, column: str) -> str | None:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{column} must be text; another column is named with --label-key")
    return value


def by_kind(found: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts there are of each kind."""
    counts: dict[str, int] = {}
    for prompt in found:
        counts[prompt.kind] = counts.get(prompt.kind, 0) + 1
    return counts
