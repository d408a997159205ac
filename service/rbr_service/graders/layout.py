"""How questions are put to the grader's model: data, read from layouts/NAME.yaml or a file.

    layout file -> Layout (templates whose placeholders are filled in one pass)

Filling in one pass means that "{{question}}" inside a completion stays what it is. `book.yaml`
documents the format at its head.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rbr_service.errors import PolicyError, SettingsError
from rbr_service.faults import sentence
from rbr_service.graders.base import Subject
from rbr_service.rbr import document
from rbr_service.rbr.policy import digest

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")

# What a placeholder may name, by where it stands.
_SHARED = {"questions", "conversation", "reply", "reply_code"}
_EACH = {"number", "question", "definition", "reply", "reply_code"}
_ENTRY = {"number", "question", "definition"}


class Template:
    """Literal text and placeholders in turns: text, name, text, ..., text."""

    def __init__(self, text: str) -> None:
        """`text` with {{names}}."""
        self.parts = _PLACEHOLDER.split(text)
        self.names = self.parts[1::2]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its placeholders filled, once."""
        return "".join(values[part] if at % 2 else part for at, part in enumerate(self.parts))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Asking(_Part):
    """The templates for one kind of question; each text goes in once, or prompts outgrow their room."""

    shared: str = Field(min_length=1)
    each: str = Field(min_length=1)
    entry: str = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, allowed in (("shared", _SHARED), ("each", _EACH), ("entry", _ENTRY)):
            _refuse_unknown(name, getattr(self, name), allowed)
        for name in ("conversation", "question"):
            template = self.shared if name == "conversation" else self.each
            if name not in Template(template).names:
                raise ValueError(f"must hold {{{{{name}}}}}")
        names = Template(self.shared).names
        twice = [name for name in ("questions", "conversation") if names.count(name) > 1]
        if twice:
            raise ValueError(f"shared holds {{{{{twice[0]}}}}} twice")
        return self

    @cached_property
    def shows_order(self) -> bool:
        """Whether a prompt about one question depends on which others there are."""
        return self.has_book or "number" in Template(self.each).names

    @cached_property
    def has_book(self) -> bool:
        """Whether every question stands in what all prompts share."""
        return "questions" in Template(self.shared).names


class Layout(_Part):
    """A whole layout file."""

    completion: Asking
    request: Asking
    message: str = "<<{{role}} {{code}}>>\n{{content}}\n<<end {{code}}>>\n"
    left_out: str = "({{count}} earlier messages left out)\n"
    gap: str = "\n(... {{count}} tokens left out ...)\n"
    example: str = "Example (answer {{answer}}): {{user}}{{assistant}} {{because}}\n"

    @model_validator(mode="after")
    def _known(self) -> Self:
        _refuse_unknown("message", self.message, {"role", "content", "code"})
        _refuse_unknown("example", self.example, {"user", "assistant", "answer", "because"})
        _refuse_unknown("left_out", self.left_out, {"count"})
        _refuse_unknown("gap", self.gap, {"count"})
        if "{{reply}}" not in self.completion.shared:
            raise ValueError("completion.shared must hold {{reply}}")
        of_reply = {"reply", "reply_code"} & {
            *Template(self.request.shared).names,
            *Template(self.request.each).names,
        }
        if of_reply:
            raise ValueError(f"request: a question about the request has no {{{{{min(of_reply)}}}}}")
        if "{{content}}" not in self.message:
            raise ValueError("message must hold {{content}}")
        return self

    @property
    def digest(self) -> str:
        """Hash of all its wording."""
        return digest(self.model_dump())

    def asking(self, subject: Subject) -> Asking:
        """The templates for questions about a subject."""
        return self.completion if subject == "completion" else self.request


def _refuse_unknown(name: str, text: str, allowed: set[str]) -> None:
    unknown = [found for found in Template(text).names if found not in allowed]
    if unknown:
        known = ", ".join(sorted(allowed))
        raise ValueError(f"{name}: {{{{{unknown[0]}}}}} is no placeholder here; there are {known}")


def shipped() -> dict[str, Path]:
    """The shipped layouts' files by name."""
    folder = Path(str(files("rbr_service.graders") / "layouts"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(name: str) -> Layout:
    """A shipped layout, or one from a *.yaml file. Raises SettingsError with file and line."""
    path = shipped().get(name)
    if path is None and not name.endswith((".yaml", ".yml")):
        raise SettingsError(
            f"layout: {name!r} is not shipped; shipped: {', '.join(shipped())}; or give a file (*.yaml)"
        )
    try:
        source = document.load(path or Path(name))
        return _parsed(source)
    except PolicyError as error:
        raise SettingsError(error.message) from error


def _parsed(source: document.Document) -> Layout:
    data: Any = source.data
    try:
        return Layout.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise source.error([part for part in first["loc"]], sentence(first)) from error
